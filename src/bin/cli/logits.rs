//! `cascadia run` of language models: tokens in, logits out.

use super::common::Common;
use super::language::{self, Stored};
use super::run::Args;
use super::{Outcome, output};
use cascadia::engine::language::{Language, Scorer};
use cascadia::io::{Checkpoint, FileDType, save};
use cascadia::tensor::{Tensor, elements};
use cascadia::{Error, Result};
use clap::ValueEnum;
use std::path::Path;
use std::sync::Arc;

/// What an input of language models holds.
pub const TOKENS: &str = "tokens";
const DECODER: &str = "decoder_tokens";

/// Rows of ids of one length.
struct Batch {
    rows: Vec<Vec<u32>>,
    len: usize,
}

pub fn run(common: &Common, args: &Args, input: &Checkpoint) -> Result<Outcome> {
    if args.features {
        return Err(Error::Usage(
            "--features is of vision models; the input holds `tokens`, for a language model".into(),
        ));
    }
    let stored = stored(args.weights.as_deref())?;
    let files = match &args.model {
        Some(text) => language::files(text)?,
        None => {
            return Err(Error::Usage(
                "the input holds `tokens`: give --model, a folder with config.json, a .gguf file or a model of the hub"
                    .into(),
            ));
        }
    };
    let device = common.open()?;
    let options = language::options(common, &device, stored)?;
    let model = Arc::new(Language::open(&device, Arc::new(files), &options)?);
    let vocab = model.config().vocab();
    let prompt = batch(input, TOKENS, vocab)?;
    let decoder = match (model.has_encoder(), input.contains(DECODER)) {
        (true, true) => Some(batch(input, DECODER, vocab)?),
        (false, false) => None,
        (true, false) => {
            let message =
                format!("the model has an encoder: expected `{DECODER}`, int64 [B, L2], beside");
            return Err(Error::file(input.path(), format!("{message} `{TOKENS}`")));
        }
        (false, true) => {
            let message = format!("has `{DECODER}`, but the model has no encoder");
            return Err(Error::file(input.path(), message));
        }
    };
    let read = decoder.as_ref().unwrap_or(&prompt);
    let count = prompt.rows.len();
    if read.rows.len() != count {
        let message = format!(
            "`{TOKENS}` has {count} sequences, `{DECODER}` {}: expected as many",
            read.rows.len()
        );
        return Err(Error::file(input.path(), message));
    }
    if let Some(most) = model.max_positions().filter(|&most| read.len > most) {
        let message = format!(
            "`{TOKENS}` are {} a sequence, beyond the {most} that the model was made for",
            read.len
        );
        return Err(Error::file(input.path(), message));
    }
    let shape = [count, read.len, vocab];
    if elements(&shape).is_none() {
        return Err(Error::file(
            input.path(),
            format!("logits {shape:?} are too many"),
        ));
    }
    let mut scorer = Scorer::new(&model, prompt.len.max(read.len))?;
    let mut all = Vec::new();
    for (prompt, tokens) in prompt.rows.iter().zip(&read.rows) {
        if decoder.is_some() {
            scorer.encode(prompt)?;
        }
        all.extend_from_slice(scorer.logits(tokens)?.bytes());
    }
    let logits = Tensor::new(cascadia::tensor::DType::F32, &shape, all)?;
    save(&args.output, &[("logits".into(), logits)], None)?;
    output::note(format_args!(
        "{}: logits {shape:?}, by {}, weights in {}, on {}",
        output::path(&args.output),
        model.name(),
        options.weights,
        device.name()
    ));
    Ok(Outcome::Done)
}

/// How weights are stored, where `--weights` says it.
fn stored(given: Option<&Path>) -> Result<Option<Stored>> {
    let Some(given) = given else { return Ok(None) };
    let text = given.to_string_lossy();
    match Stored::from_str(&text, false) {
        Ok(stored) => Ok(Some(stored)),
        Err(_) => Err(Error::Usage(format!(
            "--weights {text}: the input holds `tokens`, and for language models --weights is f32, f16, q8_0 or q4_0; \
             --model names the model"
        ))),
    }
}

/// The ids of tensor `name`, each below `vocab`.
fn batch(input: &Checkpoint, name: &str, vocab: usize) -> Result<Batch> {
    let expected = format!("expected `{name}`, int64 [B, L] with B and L at least 1");
    let len = match (input.shape(name), input.dtype(name)) {
        (Some(&[b, l]), Some(FileDType::I64 | FileDType::I32)) if b > 0 && l > 0 => l,
        (Some(shape), Some(dtype)) => {
            let message = format!("{expected}, found {dtype} {shape:?}");
            return Err(Error::file(input.path(), message));
        }
        _ => {
            return Err(Error::file(input.path(), format!("{expected}, found none")));
        }
    };
    let tensor = input.tensor(name)?;
    let (values, _) = tensor.bytes().as_chunks();
    let mut ids = Vec::with_capacity(values.len());
    for (i, value) in values.iter().enumerate() {
        let value = i64::from_le_bytes(*value);
        match u32::try_from(value) {
            Ok(id) if (id as usize) < vocab => ids.push(id),
            _ => {
                return Err(Error::file(
                    input.path(),
                    format!(
                        "`{name}` [{}, {}] is {value}; the model's tokens are 0 to {}",
                        i / len,
                        i % len,
                        vocab - 1
                    ),
                ));
            }
        }
    }
    let rows = ids.chunks(len).map(<[u32]>::to_vec).collect();
    Ok(Batch { rows, len })
}
