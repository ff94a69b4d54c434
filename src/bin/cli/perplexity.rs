//! `cascadia perplexity`: how well a model foresees a text.

use super::common::Common;
use super::language::Models;
use super::{Outcome, output};
use cascadia::engine::language::Scorer;
use cascadia::io::utf8;
use cascadia::{Error, Result};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// Text in UTF-8
    file: PathBuf,
    #[command(flatten)]
    models: Models,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Tokens that are scored with what stands before them, where --context does not say.
const CONTEXT: usize = 1024;

pub fn run(common: &Common, args: &Args) -> Result<Outcome> {
    if !args.models.draft.is_empty() {
        return Err(Error::Usage(
            "perplexity is of one model, --target; leave --draft out".into(),
        ));
    }
    let bytes = std::fs::read(&args.file).map_err(Error::io(&args.file))?;
    let text = utf8(&args.file.display().to_string(), bytes)?;
    let opened = args.models.open(common, false)?;
    if opened.target.has_encoder() {
        return Err(Error::Usage(
            "perplexity is of models that go on from a text; this one has an encoder".into(),
        ));
    }
    let tokens = opened.text()?.encode(&text, false)?;
    if tokens.len() < 2 {
        return Err(Error::Usage(format!(
            "{} has {} tokens; at least 2 are needed",
            args.file.display(),
            tokens.len()
        )));
    }
    let most = opened.target.max_positions().unwrap_or(CONTEXT);
    let context = args.models.context.unwrap_or(CONTEXT).min(most).max(2);
    let mut scorer = Scorer::new(&opened.target, context)?;
    let bar = output::bar(
        tokens.len() as u64,
        "{bar:32} {pos}/{len} tokens {eta} left",
    );
    let (mut sum, mut count) = (0.0, 0);
    // Each piece stands behind the token that begins a text, where there is one; else its first is not scored.
    let begin: Vec<u32> = opened.text()?.bos().into_iter().collect();
    for piece in tokens.chunks(context - begin.len()) {
        let window = [begin.as_slice(), piece].concat();
        if window.len() < 2 {
            continue;
        }
        let (surprise, scored) = scorer.surprise(&window)?;
        sum += surprise;
        count += scored;
        bar.inc(piece.len() as u64);
    }
    bar.finish_and_clear();
    let perplexity = (sum / count as f64).exp();
    let bits = sum / std::f64::consts::LN_2 / text.len() as f64;
    if args.json {
        let object = serde_json::json!({
            "perplexity": perplexity,
            "tokens": count,
            "bits_per_byte": bits,
            "context": context,
        });
        output::print(object)?;
    } else {
        output::print(format_args!(
            "perplexity {perplexity:.4} over {count} tokens in pieces of {context} ({bits:.4} bits a byte)"
        ))?;
    }
    Ok(Outcome::Done)
}
