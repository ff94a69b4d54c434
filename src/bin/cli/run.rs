//! `cascadia run`: tensors in, tensors out, to compare with other frameworks.

use super::common::{Common, find};
use super::{Outcome, logits, output};
use cascadia::engine::Vision;
use cascadia::io::{Checkpoint, FileDType, save};
use cascadia::models::efficientvit::{Config, Outputs, inspect};
use cascadia::plan::Options;
use cascadia::tensor::Tensor;
use cascadia::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(clap::Args)]
pub struct Args {
    /// For pictures m0 to m5, or what the weights tell without it; for tokens a language model, as `generate --target`
    #[arg(
        long,
        value_name = "MODEL|DIR|HUB_ID",
        required_unless_present = "weights"
    )]
    pub model: Option<String>,
    /// For pictures a .safetensors file with timm's names or the authors', the public checkpoint of --model without
    /// it; for tokens how weights are stored, as `generate --weights`
    #[arg(long, value_name = "W.safetensors|FORMAT")]
    pub weights: Option<PathBuf>,
    /// A .safetensors file. Pictures: `x`, float32 [B, 3, H, W], normalised already. Tokens: `tokens`, int64 [B, L], for
    /// T5 with `decoder_tokens`, int64 [B, L2]
    #[arg(long, value_name = "IN.safetensors")]
    pub input: PathBuf,
    /// Gets `logits`: float32 [B, classes]; of tokens [B, L, vocabulary], for T5 [B, L2, vocabulary]
    #[arg(long, value_name = "OUT.safetensors")]
    pub output: PathBuf,
    /// Of pictures, write `stage0`, `stage1`, `stage2`, too: float32 [B, C, H, W], at strides 16, 32 and 64
    #[arg(long)]
    pub features: bool,
}

pub fn run(common: &Common, args: &Args) -> Result<Outcome> {
    let file = Checkpoint::open(&args.input)?;
    let mut inputs = vec![args.input.clone()];
    inputs.extend(args.weights.clone());
    inputs.extend(args.model.iter().flat_map(|m| output::files_of(m)));
    output::ready("--output", &args.output, &inputs)?;
    if file.contains(logits::TOKENS) {
        return logits::run(common, args, &file);
    }
    let x = input(&file)?;
    let checkpoint = match &args.weights {
        Some(path) => Arc::new(Checkpoint::open(path)?),
        None => find(args.model.as_deref())?,
    };
    let mut config = inspect(&checkpoint)?;
    if let (Some(name), Some(_)) = (&args.model, &args.weights) {
        agrees(name, &config, &checkpoint)?;
    }
    config.size = [x.shape()[2], x.shape()[3]];
    (config.windows()).map_err(|e| Error::file(&args.input, format!("`x`: {e}")))?;
    let device = common.open()?;
    let options = Options::new(common.dtype(device.caps(), device.name())?);
    let outputs = Outputs {
        logits: true,
        stages: args.features,
        attention: false,
    };
    let mut vision = Vision::new(&device, &config, checkpoint, &options)?;
    let tensors = vision.run(&x, outputs)?;
    save(&args.output, &tensors, None)?;
    let shapes: Vec<String> = (tensors.iter())
        .map(|(name, t)| format!("{name} {:?}", t.shape()))
        .collect();
    output::note(format_args!(
        "{}: {}, by EfficientViT-{} in {} on {}",
        output::path(&args.output),
        shapes.join(", "),
        config.name().unwrap_or("?").to_uppercase(),
        options.dtype,
        device.name()
    ));
    Ok(Outcome::Done)
}

/// `x` of an input.
fn input(file: &Checkpoint) -> Result<Tensor> {
    let path = file.path();
    let expected = "expected a tensor `x`, float32 [B, 3, H, W] with B at least 1 (or `tokens`, for language models)";
    match (file.shape("x"), file.dtype("x")) {
        (Some(&[batch, 3, _, _]), Some(FileDType::F32)) if batch > 0 => {
            let x = file.tensor("x")?;
            finite(&x).map_err(|what| Error::file(path, what))?;
            Ok(x)
        }
        (Some(shape), Some(dtype)) => Err(Error::file(
            path,
            format!("{expected}, found {dtype} {shape:?}"),
        )),
        _ => {
            let names: Vec<String> = (file.names().take(4)).map(|n| format!("`{n}`")).collect();
            let found = if names.is_empty() {
                "none".into()
            } else {
                names.join(", ")
            };
            Err(Error::file(path, format!("{expected}, found {found}")))
        }
    }
}

/// Whether all of `x` are numbers; what is not is named by its place.
fn finite(x: &Tensor) -> Result<(), String> {
    let values = x.to_f32();
    let Some(at) = values.iter().position(|v| !v.is_finite()) else {
        return Ok(());
    };
    let mut place = vec![0; x.shape().len()];
    let mut left = at;
    for (place, &n) in place.iter_mut().zip(x.shape()).rev() {
        (*place, left) = (left % n, left / n);
    }
    Err(format!(
        "`x` {place:?} is {}: expected finite numbers",
        values[at]
    ))
}

/// Whether the weights are those of the variant called `name`.
fn agrees(name: &str, found: &Config, checkpoint: &Checkpoint) -> Result<()> {
    let Some(wanted) = Config::named(name) else {
        return Err(Error::Usage(format!(
            "--model {name} with --weights: expected m0 to m5, or --weights alone"
        )));
    };
    if wanted.name() == found.name() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "--model {name} contradicts the weights: {} holds EfficientViT-{}; leave --model out",
        checkpoint.path().display(),
        found.name().unwrap_or("?").to_uppercase()
    )))
}
