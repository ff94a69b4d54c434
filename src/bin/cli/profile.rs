//! `cascadia profile`: where the time and the bytes of a model go, fused and unfused.

use super::common::{Common, Size, batch, config};
use super::{Outcome, output, page, table};
use cascadia::device::{Device, Executable, Read, Timestamps};
use cascadia::engine::profile::{Profile, noise_weights};
use cascadia::io::{Checkpoint, write_atomically};
use cascadia::models::efficientvit::{Config, EfficientViT, Outputs, fits, inspect, reader};
use cascadia::plan::{Options, Plan};
use cascadia::shader::{Caps, noise};
use cascadia::tensor::{DType, Tensor};
use cascadia::{Error, Result};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(clap::Args)]
pub struct Args {
    /// m0 to m5, or weights as for `classify --model`
    #[arg(value_name = "MODEL")]
    model: String,
    /// Images run at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: usize,
    /// Write a page with a chart, too
    #[arg(long, value_name = "OUT.html")]
    html: Option<PathBuf>,
    /// Runs of which each time is the median
    #[arg(long, value_name = "R", default_value_t = 10)]
    runs: usize,
    /// Weights to run with; noise without them
    #[arg(long, value_name = "W.safetensors")]
    weights: Option<PathBuf>,
    /// The input's side, or HEIGHTxWIDTH
    #[arg(long, value_name = "N|HxW")]
    size: Option<Size>,
    /// List the dispatches of the unfused plan rather than the fused one's; both are measured either way
    #[arg(long)]
    unfused: bool,
}

pub fn run(common: &Common, args: &Args) -> Result<Outcome> {
    if args.runs == 0 {
        return Err(Error::Usage(
            "--runs 0 measures nothing: take at least 1".into(),
        ));
    }
    if let Some(to) = &args.html {
        let mut inputs = output::files_of(&args.model);
        inputs.extend(args.weights.clone());
        output::ready("--html", to, &inputs)?;
    }
    let batch = batch(Some(args.batch), &Caps::default())?;
    let (config, weights) = model(args)?;
    let device = common.open()?;
    let dtype = common.dtype(device.caps(), device.name())?;
    let [h, w] = config.size;
    let measure = |fuse: bool| -> Result<Profile> {
        let graph = EfficientViT::new(&config)?.graph(batch, Outputs::logits())?;
        let plan = Plan::new(
            &graph,
            device.caps(),
            &Options {
                fuse,
                ..Options::new(dtype)
            },
        )?;
        // Only once the plan stands, and so a batch that the adapter can bind.
        let x = Tensor::from_f32(&[batch, 3, h, w], &noise(1, batch * 3 * h * w))?;
        let read: Box<Read<'_>> = match &weights {
            Some(checkpoint) => {
                fits(checkpoint, &graph)?;
                Box::new(reader(checkpoint))
            }
            None => Box::new(noise_weights),
        };
        let exe = Executable::load(&device, Arc::new(plan), &*read)?;
        Profile::measure(&exe, device.timestamps(), &[x], args.runs)
    };
    let both = [("fused", measure(true)?), ("unfused", measure(false)?)];
    let title = title(&config, batch, dtype, &device);
    if let Some(path) = &args.html {
        let html = page::html(&title, &notes(&device, args), &both);
        write_atomically(path, |file| file.write_all(html.as_bytes()))?;
    }
    let listed = &both[usize::from(args.unfused)];
    output::print(format_args!(
        "{title}\n{}\n\n{} dispatches\n{}\n{}",
        notes(&device, args),
        listed.0,
        table::dispatches(&listed.1),
        table::shares(&both)
    ))?;
    Ok(Outcome::Done)
}

/// What is profiled, and with what weights.
fn model(args: &Args) -> Result<(Config, Option<Checkpoint>)> {
    let Some(path) = &args.weights else {
        return Ok((config(&args.model, args.size)?, None));
    };
    let checkpoint = Checkpoint::open(path)?;
    let mut found = inspect(&checkpoint)?;
    let wanted = config(&args.model, args.size)?;
    if found.name() != wanted.name() {
        return Err(Error::Usage(format!(
            "{} contradicts the weights: {} holds EfficientViT-{}",
            args.model,
            path.display(),
            found.name().unwrap_or("?").to_uppercase()
        )));
    }
    found.size = wanted.size;
    Ok((found, Some(checkpoint)))
}

fn title(config: &Config, batch: usize, dtype: DType, device: &Device) -> String {
    let [h, w] = config.size;
    format!(
        "EfficientViT-{}, batch {batch} at {h}×{w}, {dtype}, on {} ({})",
        config.name().unwrap_or("?").to_uppercase(),
        device.name(),
        device.backend()
    )
}

fn notes(device: &Device, args: &Args) -> String {
    let how = match device.timestamps() {
        Timestamps::None => "This adapter has no timestamps: wall times only.",
        Timestamps::Passes => {
            "GPU times by timestamps; each dispatch is a pass of its own, but not in the whole."
        }
        Timestamps::Dispatches => "GPU times by timestamps between dispatches.",
    };
    let of = match args.runs {
        1 => "One run.".into(),
        n => format!("Medians of {n} runs."),
    };
    let what = if args.weights.is_some() {
        ""
    } else {
        " Weights are noise."
    };
    format!("{how} {of} Bytes are those that each dispatch must at least move.{what}")
}
