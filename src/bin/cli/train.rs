//! `cascadia train`: a model that begins with drawn weights and learns to foresee texts.

use super::common::{Common, Float};
use super::lessons::{begin, ends, objects};
use super::training::{Course, Training};
use super::{Outcome, saving};
use cascadia::engine::distill::{Distributions, Loss, Settings, Texts, Trainer, fresh};
use cascadia::engine::language::Language;
use cascadia::io::text::Tokenizer;
use cascadia::io::{LanguageFiles, folder, read_text};
use cascadia::models::language::Config;
use cascadia::plan::Options;
use cascadia::tensor::DType;
use cascadia::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(clap::Args)]
pub struct Args {
    /// What the model is like: a config.json of Llama, of a model with its layers, or of T5
    #[arg(long, value_name = "FILE", required_unless_present = "init")]
    config: Option<PathBuf>,
    /// The folder of its tokenizer (tokenizer.json and what belongs to it)
    #[arg(long, value_name = "DIR", required_unless_present = "init")]
    tokenizer: Option<PathBuf>,
    /// Go on from this model's weights, with its configuration and its tokenizer, instead of drawn ones
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "tokenizer"])]
    init: Option<PathBuf>,
    /// Text; .jsonl with `text` on each line, for T5 with `prompt` beside it; or a folder of such files
    #[arg(long, value_name = "FILE|FOLDER")]
    data: PathBuf,
    #[command(flatten)]
    training: Training,
}

pub fn run(common: &Common, args: &Args) -> Result<Outcome> {
    let (training, data) = (&args.training, args.data.as_path());
    let settings = training.settings(Loss::CrossEntropy);
    training.check(&settings)?;
    let files = match (&args.init, &args.config, &args.tokenizer) {
        (Some(folder), ..) => LanguageFiles::open(folder)?,
        (None, Some(config), Some(folder)) => fresh(config, folder, training.seed)?,
        _ => return Err(Error::Usage("--config and --tokenizer are missing".into())),
    };
    let Some(tokenizer) = files.tokenizer()? else {
        let folder = args.tokenizer.as_ref().unwrap_or(&files.path);
        let message = "has no tokenizer.json, which texts need";
        return Err(Error::file(folder, message));
    };
    let config = Config::of(&files)?;
    tokenizer.within(config.vocab())?;
    let device = common.open()?;
    let options = Options::new(DType::F32);
    let model = Arc::new(Language::open(&device, Arc::new(files), &options)?);
    let lock = training.claim(&model)?;
    let words = match &args.tokenizer {
        Some(folder) => saving::known(&folder.join("tokenizer.json"))?,
        None => "the model's".into(),
    };
    let flag = if args.init.is_some() {
        "--init"
    } else {
        "--config"
    };
    let mut texts = Texts::untaught(&model, training.length())?;
    let pair = |prompt: &[u32], answer: &[u32]| texts.push_answered(prompt, answer);
    let stream = stream(data, &tokenizer, &config, pair)?;
    texts.push_stream(&stream, begin(&tokenizer, &config));
    if texts.sequences() == 0 {
        return Err(Error::file(
            data,
            "holds nothing to learn: expected a text of at least two tokens",
        ));
    }
    // Weights are f32; products round to halves where --dtype says so.
    let settings = Settings {
        halves: matches!(common.dtype, Some(Float::F16)),
        ..settings
    };
    let mut trainer = Trainer::new(&model, settings)?;
    let course = Course {
        what: "model",
        data,
        sequences: texts.sequences(),
        ordered: false,
        given: args.init.is_some(),
        said: vec![
            ("--length", training.length().to_string()),
            ("--tokenizer", words),
            (flag, saving::model(&model.name(), model.config())),
        ],
    };
    training.run(&mut trainer, &course, lock, |_, which, _| {
        texts.batch(which, Distributions::None)
    })
}

/// The tokens of all texts one after the other, each ended by the token that ends a text where there is one. Where an
/// encoder reads prompts, texts that have one go to `pair` instead.
fn stream(
    data: &Path,
    tokenizer: &Tokenizer,
    config: &Config,
    mut pair: impl FnMut(&[u32], &[u32]),
) -> Result<Vec<u32>> {
    let end = tokenizer.eos().or(config.eos().first().copied());
    let encoder = matches!(config, Config::T5(_));
    let mut texts = Vec::new();
    let paths = match data.is_dir() {
        true => folder::files(data)?,
        false => vec![data.to_path_buf()],
    };
    for path in paths {
        let text = read_text(&path)?;
        if !ends(&path, "jsonl") {
            texts.push(text);
            continue;
        }
        for (i, object) in objects(&path, &text)?.iter().enumerate() {
            let field = |name: &str| object.get(name).and_then(|v| v.as_str());
            match (field("text"), field("prompt").filter(|_| encoder)) {
                (Some(text), None) => texts.push(text.to_string()),
                (Some(text), Some(prompt)) => {
                    let mut answer = tokenizer.encode(text, false)?;
                    answer.extend(end);
                    pair(&tokenizer.prompt(prompt)?, &answer);
                }
                (None, _) => {
                    let message = format!("text {}: expected `text`", i + 1);
                    return Err(Error::file(&path, message));
                }
            }
        }
    }
    let mut all = Vec::new();
    for tokens in tokenizer.encode_all(&texts)? {
        if !tokens.is_empty() {
            all.extend(tokens);
            all.extend(end);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::{begin, stream};
    use cascadia::engine::language::embedded;
    use cascadia::models::language::Config;
    use cascadia::{Error, Result};

    #[test]
    fn the_end_token_stands_between_texts() -> Result<()> {
        let [files, _] = embedded()?;
        let (config, tokenizer) = (Config::of(&files)?, files.tokenizer()?);
        let tokenizer = tokenizer.ok_or_else(|| Error::Usage("a tokenizer".into()))?;
        let folder = std::env::temp_dir().join(format!("cascadia-texts-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        for (name, text) in [
            ("a.jsonl", "{\"text\": \"let\"}\n\n{\"text\": \"fn\"}"),
            ("b.txt", ""),
            ("c.txt", "use"),
        ] {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(Error::io(&path))?;
        }
        let found = stream(&folder, &tokenizer, &config, |_, _| {});
        std::fs::remove_dir_all(&folder).map_err(Error::io(&folder))?;
        let mut expected = Vec::new();
        for text in ["let", "fn", "use"] {
            expected.extend(tokenizer.encode(text, false)?);
            expected.extend(tokenizer.id("</s>"));
        }
        assert_eq!(found?, expected);
        assert_eq!(begin(&tokenizer, &config), tokenizer.id("<s>"));
        Ok(())
    }
}
