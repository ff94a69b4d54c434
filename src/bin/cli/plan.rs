//! `cascadia plan`: how a model is computed, as text.

use super::common::{Common, Float, Size, batch, config};
use super::{Outcome, output};
use cascadia::models::efficientvit::{EfficientViT, Outputs};
use cascadia::plan::{Options, Plan};
use cascadia::shader::Caps;
use cascadia::tensor::DType;
use cascadia::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// m0 to m5, or weights as for `classify --model`
    #[arg(value_name = "MODEL")]
    model: String,
    /// Images run at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: usize,
    /// A dispatch for every op, as an eager framework runs it
    #[arg(long)]
    unfused: bool,
    /// The input's side, or HEIGHTxWIDTH
    #[arg(long, value_name = "N|HxW")]
    size: Option<Size>,
    /// Plan for what every WebGPU adapter has, rather than for one of this machine's
    #[arg(long, conflicts_with = "adapter")]
    portable: bool,
}

pub fn run(common: &Common, args: &Args) -> Result<Outcome> {
    let config = config(&args.model, args.size)?;
    let batch = batch(Some(args.batch), &Caps::default())?;
    let graph = EfficientViT::new(&config)?.graph(batch, Outputs::logits())?;
    let (caps, name, dtype);
    if args.portable {
        let f16 = matches!(common.dtype, Some(Float::F16));
        caps = Caps {
            f16,
            ..Caps::default()
        };
        name = "any WebGPU adapter".to_string();
        dtype = if f16 { DType::F16 } else { DType::F32 };
    } else {
        let device = common.open().map_err(|e| match e {
            Error::Device(why) => Error::Device(format!("{why}; or plan with --portable")),
            e => e,
        })?;
        dtype = common.dtype(device.caps(), device.name())?;
        caps = device.caps().clone();
        name = device.name().to_string();
    }
    let options = Options {
        fuse: !args.unfused,
        ..Options::new(dtype)
    };
    let plan = Plan::new(&graph, &caps, &options)?;
    let [h, w] = config.size;
    output::print(format_args!(
        "EfficientViT-{}, batch {batch} at {h}×{w}, {dtype}, {} for {name}\n{plan}",
        config.name().unwrap_or("?").to_uppercase(),
        if args.unfused { "unfused" } else { "fused" },
    ))?;
    Ok(Outcome::Done)
}
