//! `cascadia profile`: where the time and the bytes of a model go, fused and unfused.

use super::common::{Common, Size, batch, config};
use super::{Outcome, output, page};
use cascadia::device::{Device, Executable, Timestamps};
use cascadia::engine::profile::{Profile, Share, noise_weights};
use cascadia::graph::Source;
use cascadia::io::{Checkpoint, write_atomically};
use cascadia::models::efficientvit::{Config, EfficientViT, Outputs, fits, inspect, reader};
use cascadia::plan::{Options, Plan};
use cascadia::shader::{Caps, noise};
use cascadia::tensor::{DType, Tensor};
use cascadia::{Error, Result};
use std::fmt::Write;
use std::io::Write as _;
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
    let batch = batch(Some(args.batch), &Caps::default())?;
    let (config, weights) = model(args)?;
    let device = common.open()?;
    let dtype = common.dtype(device.caps(), device.name())?;
    let [h, w] = config.size;
    let x = Tensor::from_f32(&[batch, 3, h, w], &noise(1, batch * 3 * h * w))?;
    let measure = |fuse: bool| -> Result<Profile> {
        let graph = EfficientViT::new(&config)?.graph(batch, Outputs::logits())?;
        let plan = Plan::new(&graph, device.caps(), &Options { dtype, fuse })?;
        let read: Box<dyn Fn(&Source) -> Result<Vec<f32>>> = match &weights {
            Some(checkpoint) => {
                fits(checkpoint, &graph)?;
                Box::new(reader(checkpoint))
            }
            None => Box::new(noise_weights),
        };
        let exe = Executable::load(&device, Arc::new(plan), &*read)?;
        Profile::measure(
            &exe,
            device.timestamps(),
            std::slice::from_ref(&x),
            args.runs,
        )
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
        dispatches(&listed.1),
        shares(&both)
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

/// Milliseconds, or a dash.
pub fn ms(time: Option<f64>) -> String {
    time.map_or("-".into(), |t| format!("{t:.4}"))
}

pub fn mib(bytes: u64) -> String {
    format!("{:.3}", bytes as f64 / f64::from(1 << 20))
}

/// `part` of `whole` in percent, or a dash.
pub fn percent(part: Option<f64>, whole: Option<f64>) -> String {
    match part.zip(whole.filter(|w| *w > 0.0)) {
        Some((part, whole)) => format!("{:.1}", 100.0 * part / whole),
        None => "-".into(),
    }
}

fn dispatches(p: &Profile) -> String {
    let mut text = format!(
        "{:>4} {:>10} {:>6} {:>10} {:>9}  what\n",
        "", "ms", "%", "MiB", "MMAC"
    );
    let all = p.dispatches_ms();
    for (i, row) in p.dispatches.iter().enumerate() {
        let _ = writeln!(
            text,
            "{i:>4} {:>10} {:>6} {:>10} {:>9.2}  {} {} {} {}",
            ms(row.gpu_ms),
            percent(row.gpu_ms, all),
            mib(row.bytes),
            row.macs as f64 / 1e6,
            row.category.name(),
            row.scope,
            row.op,
            row.label
        );
    }
    text
}

/// The shares of every category, fused and unfused side by side.
fn shares(both: &[(&str, Profile); 2]) -> String {
    let mut text = format!("{:<20}", "");
    for (name, _) in both {
        let _ = write!(
            text,
            " | {name:>10} {:>10} {:>6} {:>10} {:>6}",
            "ms", "%", "MiB", "%"
        );
    }
    text.push('\n');
    let [fused, unfused] = both.each_ref().map(|(_, p)| (p, p.shares()));
    for (a, b) in fused.1.iter().zip(&unfused.1) {
        let _ = write!(text, "{:<20}", a.category.name());
        for (p, s) in [(fused.0, a), (unfused.0, b)] {
            text.push_str(&share(p, s));
        }
        text.push('\n');
    }
    let mut row = |name: &str, cell: &dyn Fn(&Profile) -> [String; 3]| {
        let _ = write!(text, "{name:<20}");
        for (_, p) in both {
            let [count, ms, mib] = cell(p);
            let _ = write!(
                text,
                " | {count:>10} {ms:>10} {:>6} {mib:>10} {:>6}",
                "", ""
            );
        }
        text.push('\n');
    };
    row("all dispatches", &|p| {
        [
            p.dispatches.len().to_string(),
            ms(p.dispatches_ms()),
            mib(p.bytes()),
        ]
    });
    row("whole plan, GPU", &|p| {
        ["".into(), ms(p.total_ms), "".into()]
    });
    row("submit to logits", &|p| {
        ["".into(), ms(Some(p.wall_ms)), "".into()]
    });
    text
}

fn share(p: &Profile, s: &Share) -> String {
    format!(
        " | {:>10} {:>10} {:>6} {:>10} {:>6}",
        s.dispatches,
        ms(s.gpu_ms),
        percent(s.gpu_ms, p.dispatches_ms()),
        mib(s.bytes),
        percent(Some(s.bytes as f64), Some(p.bytes() as f64)),
    )
}
