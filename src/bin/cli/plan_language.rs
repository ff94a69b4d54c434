//! `cascadia plan` of language models: the runs that `generate` submits.

use super::common::{Common, Target};
use super::language;
use super::plan::Args;
use super::{Outcome, output};
use cascadia::engine::language::{Language, Room, embedded};
use cascadia::io::LanguageFiles;
use cascadia::models::language::Config;
use cascadia::plan::Options;
use cascadia::{Error, Result};
use std::path::Path;

/// Whether `args` are about a language model: by a flag of theirs, or by what the model is.
pub fn is_meant(args: &Args) -> bool {
    args.tokens.is_some() || (args.model.as_ref()).is_some_and(|m| is_language(Path::new(m)))
}

/// Whether `path` is a .gguf file, or a folder that holds one or whose config.json has a `model_type`, which those of
/// vision models lack.
fn is_language(path: &Path) -> bool {
    let gguf = |p: &Path| {
        p.extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("gguf"))
    };
    if !path.is_dir() {
        return gguf(path);
    }
    match std::fs::read(path.join("config.json")) {
        Ok(text) => serde_json::from_slice::<serde_json::Value>(&text)
            .is_ok_and(|config| config.get("model_type").is_some()),
        Err(_) => std::fs::read_dir(path)
            .is_ok_and(|mut all| all.any(|e| e.is_ok_and(|e| gguf(&e.path())))),
    }
}

pub fn run(common: &Common, args: &Args) -> Result<Outcome> {
    if args.size.is_some() || args.batch != 1 || args.unfused {
        return Err(Error::Usage(
            "--size, --batch and --unfused are of vision models; a language model's plan takes --tokens, --context and \
             --weights"
                .into(),
        ));
    }
    let tokens = args.tokens.unwrap_or(1);
    let files: LanguageFiles = match &args.model {
        Some(text) => language::files(text)?,
        None => {
            let [target, _] = embedded()?;
            target
        }
    };
    let own = match Config::of(&files)? {
        Config::Decoder(c) => Some(c.max_positions),
        Config::T5(_) => None,
    };
    let most = own.unwrap_or(language::LONGEST);
    let context = args.context.unwrap_or(most.min(4096).max(tokens));
    if tokens == 0 || context < tokens || context > most {
        return Err(Error::Usage(format!(
            "a run of {tokens} tokens with room for {context}: expected 1 to {most}, and no more tokens than room"
        )));
    }
    let target = Target::of(common, args.portable)?;
    let mut options = Options::new(target.dtype);
    if let Some(stored) = args.weights {
        options.weights = stored.format();
    }
    let room = Room::of(context);
    for (title, plan) in Language::plans(&files, tokens, &room, &target.caps, &options)? {
        output::print(format_args!(
            "{}, tokens: {title}; room for {context}, {} with weights in {}, for {}\n{plan}",
            files.path.display(),
            target.dtype,
            options.weights,
            target.name,
        ))?;
    }
    Ok(Outcome::Done)
}
