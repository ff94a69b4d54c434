//! Text from the built-in pair: `cargo run --release --example generate`.

use cascadia::device::{self, Device};
use cascadia::engine::language::{
    Draft, DraftLen, Language, Request, Room, Sampling, Session, embedded,
};
use cascadia::{plan, tensor::DType};
use std::sync::Arc;

fn main() -> cascadia::Result<()> {
    let device = Device::open(&device::Options::default())?;
    let options = plan::Options::new(DType::F32);
    let [target, draft] = embedded()?; // or LanguageFiles::open(path)?
    let text = target
        .tokenizer()?
        .ok_or_else(|| cascadia::Error::Usage("no tokenizer".into()))?;
    let target = Arc::new(Language::open(&device, Arc::new(target), &options)?);
    let draft = Arc::new(Language::open(&device, Arc::new(draft), &options)?);
    let mut session = Session::new(&target, Draft::Model(draft), Room::of(512))?;
    let request = Request {
        max_new: 64,
        sampling: Sampling::greedy(),
        draft_len: DraftLen::Auto,
        stop: target.config().eos().to_vec(),
        check: false,
    };
    let mut generation = session.generate(&text.prompt("def main():\n")?, &request)?;
    let mut stream = text.stream();
    while let Some(tokens) = generation.next()? {
        for token in tokens {
            print!("{}", stream.push(token)?);
        }
    }
    println!("{}", stream.finish()?);
    Ok(())
}
