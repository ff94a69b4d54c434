//! `cascadia plan`: how a model is computed, as text.

use super::common::{Common, Size, Target, batch, config};
use super::language::Stored;
use super::{Outcome, output, plan_language};
use cascadia::engine::at_most;
use cascadia::models::efficientvit::{EfficientViT, Outputs};
use cascadia::plan::{Options, Plan};
use cascadia::shader::Caps;
use cascadia::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// m0 to m5, weights as for `classify --model`, or a language model as for `generate --target`; with --tokens alone
    /// the built-in language model
    #[arg(value_name = "MODEL")]
    pub model: Option<String>,
    /// Images run at once; of more than the adapter binds at once, the plan of a part
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub batch: usize,
    /// A dispatch for every op, as an eager framework runs it
    #[arg(long)]
    pub unfused: bool,
    /// The input's side, or HEIGHTxWIDTH
    #[arg(long, value_name = "N|HxW")]
    pub size: Option<Size>,
    /// Plan for what every WebGPU adapter has, rather than for one of this machine's
    #[arg(long, conflicts_with = "adapter")]
    pub portable: bool,
    /// Of a language model: tokens run at once, 1 without it
    #[arg(long, value_name = "N")]
    pub tokens: Option<usize>,
    /// Of a language model: room for so many tokens; its own length, up to 4096, without it
    #[arg(long, value_name = "TOKENS")]
    pub context: Option<usize>,
    /// Of a language model: how weights are stored; the element type without it
    #[arg(long, value_name = "FORMAT")]
    pub weights: Option<Stored>,
}

pub fn run(common: &Common, args: &Args) -> Result<Outcome> {
    if plan_language::is_meant(args) {
        return plan_language::run(common, args);
    }
    let Some(model) = &args.model else {
        return Err(Error::Usage(
            "there is no MODEL to plan: expected m0 to m5, weights or a language model, or --tokens N for the built-in \
             language model"
                .into(),
        ));
    };
    if args.context.is_some() || args.weights.is_some() {
        return Err(Error::Usage(
            "--context and --weights are of language models, and the model is none".into(),
        ));
    }
    let config = config(model, args.size)?;
    let batch = batch(Some(args.batch), &Caps::default())?;
    let model = EfficientViT::new(&config)?;
    let target = Target::of(common, args.portable)?;
    let options = Options {
        fuse: !args.unfused,
        ..Options::new(target.dtype)
    };
    let (plan, part) = at_most(batch, |n| {
        Plan::new(&model.graph(n, Outputs::logits())?, &target.caps, &options)
    })?;
    let parts = match batch.div_ceil(part) {
        1 => String::new(),
        n => format!(" (of {batch}, which is run in {n} parts)"),
    };
    let [h, w] = config.size;
    output::print(format_args!(
        "EfficientViT-{}, batch {part}{parts} at {h}×{w}, {}, {} for {}\n{plan}",
        config.name().unwrap_or("?").to_uppercase(),
        target.dtype,
        if args.unfused { "unfused" } else { "fused" },
        target.name,
    ))?;
    Ok(Outcome::Done)
}
