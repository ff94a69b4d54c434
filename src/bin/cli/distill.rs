//! `cascadia distill`: a draft that learns from a target's distributions, on texts or on recorded rows.

use super::common::Common;
use super::language::files;
use super::lessons::{self, Lessons, Student};
use super::{Outcome, output};
use cascadia::engine::distill::{Loss, Schedule, Settings, Step, Trainer};
use cascadia::engine::language::{Language, embedded};
use cascadia::plan::Options;
use cascadia::tensor::DType;
use cascadia::{Error, Result};
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

#[derive(clap::Args)]
pub struct Args {
    /// The model that teaches, as in `generate`; the built-in one without it. Recorded rows need none
    #[arg(long, value_name = "DIR|HUB_ID")]
    pub target: Option<String>,
    /// The model that learns; the built-in draft where --target is not given either
    #[arg(long, value_name = "DIR|HUB_ID")]
    pub draft: Option<String>,
    /// Text; .jsonl with `text` or `prompt` (and `answer`) on each line; or recorded rows: .safetensors with tokens
    /// int64 [B, L], positions int64 [B, P] and target_probs f32 [B, P, V]
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// What is made small
    #[arg(long, default_value = "forward_kl")]
    loss: Kind,
    /// Who writes what is learned: the target (or the file), the draft, or both in turn
    #[arg(long, default_value = "teacher")]
    pub source: Source,
    #[arg(long, value_name = "N")]
    steps: u64,
    /// The learning rate
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    lr: f32,
    /// The folder of the trained draft
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Sequences of a step; 8, or as many as are recorded if those are fewer
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Batches whose gradients make one step
    #[arg(long, value_name = "N", default_value_t = 1)]
    accumulate: usize,
    /// Tokens of a sequence of text
    #[arg(long, value_name = "TOKENS", default_value_t = 128)]
    pub length: usize,
    /// Tokens that the target answers a prompt with, at most
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub max_new: usize,
    /// Of both distributions; recorded rows must have been made with it
    #[arg(
        long,
        value_name = "T",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    pub temperature: f32,
    /// By which a step takes the learning rate's share of each weight away
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.01,
        allow_negative_numbers = true
    )]
    weight_decay: f32,
    /// Of --loss jsd: the target's share in the mixture
    #[arg(
        long,
        value_name = "B",
        default_value_t = 0.5,
        allow_negative_numbers = true
    )]
    beta: f32,
    /// Steps in which the learning rate rises
    #[arg(long, value_name = "N", default_value_t = 0)]
    warmup: u64,
    /// What the learning rate does after them
    #[arg(long, default_value = "constant")]
    schedule: Falling,
    /// The largest norm of all gradients together; larger ones are scaled down
    #[arg(long, value_name = "NORM", allow_negative_numbers = true)]
    clip: Option<f32>,
    /// Compute activations once more for the gradients instead of keeping them: less memory, more time
    #[arg(long)]
    recompute: bool,
    /// Train additions of this rank to the layers' projections instead of the weights; 0: the weights
    #[arg(long, value_name = "R")]
    lora_rank: Option<usize>,
    /// Of the order of texts and of what is drawn
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Save the draft, and what a later --resume goes on from, each so many steps
    #[arg(long, value_name = "N")]
    save_every: Option<u64>,
    /// Go on from the last save in --output
    #[arg(long)]
    resume: bool,
    /// Print one JSON object: `losses`, one a step, and figures
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    #[value(name = "forward_kl")]
    ForwardKl,
    #[value(name = "reverse_kl")]
    ReverseKl,
    Jsd,
    Tv,
    #[value(name = "cross_entropy")]
    CrossEntropy,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Source {
    Teacher,
    Student,
    Mixed,
}

#[derive(Clone, Copy, ValueEnum)]
enum Falling {
    Constant,
    Cosine,
}

/// What a later run goes on from, in the draft's folder.
const STATE: &str = "training.safetensors";

impl Args {
    fn settings(&self) -> Settings {
        Settings {
            loss: match self.loss {
                Kind::ForwardKl => Loss::ForwardKl,
                Kind::ReverseKl => Loss::ReverseKl,
                Kind::Jsd => Loss::Jsd { beta: self.beta },
                Kind::Tv => Loss::Tv,
                Kind::CrossEntropy => Loss::CrossEntropy,
            },
            temperature: self.temperature,
            lr: self.lr,
            warmup: self.warmup,
            schedule: match self.schedule {
                Falling::Constant => Schedule::Constant,
                Falling::Cosine => Schedule::Cosine { steps: self.steps },
            },
            weight_decay: self.weight_decay,
            clip: self.clip,
            recompute: self.recompute,
            low_rank: self.lora_rank.filter(|&rank| rank > 0),
            seed: self.seed as u32,
            ..Settings::default()
        }
    }

    /// Refuses what is not built, and what can do nothing.
    fn check(&self) -> Result<()> {
        let refuse = |message: &str| Err(Error::Usage(message.into()));
        if self.steps == 0 || self.batch == Some(0) || self.accumulate == 0 {
            return refuse("--steps, --batch and --accumulate take at least 1");
        }
        if self.save_every == Some(0) {
            return refuse("--save-every takes at least 1");
        }
        self.settings().check()
    }
}

pub fn run(common: &Common, args: &Args) -> Result<Outcome> {
    args.check()?;
    let device = common.open()?;
    let (target, draft) = match (&args.target, &args.draft) {
        (None, None) => embedded().map(|[target, draft]| (Some(target), draft))?,
        (target, Some(draft)) => (target.as_deref().map(files).transpose()?, files(draft)?),
        (Some(_), None) => {
            return Err(Error::Usage(
                "--draft is missing: which model is to learn?".into(),
            ));
        }
    };
    // Training is in f32; so is the teacher, unless --dtype says otherwise.
    let taught_in = match common.dtype {
        Some(_) => common.dtype(device.caps(), device.name())?,
        None => DType::F32,
    };
    let draft = Arc::new(Language::open(
        &device,
        Arc::new(draft),
        &Options::new(DType::F32),
    )?);
    let mut lessons = Lessons::open(args, &Options::new(taught_in), &draft, target)?;
    let mut trainer = Trainer::new(&draft, args.settings())?;
    if args.resume {
        trainer.resume(&args.output.join(STATE))?;
    }
    let batch = args.batch.unwrap_or(8.min(lessons.sequences()));
    let (mut losses, started) = (Vec::new(), Instant::now());
    let bar = output::bar(
        args.steps,
        "{bar:32} {pos}/{len} steps, {msg} {per_sec} {eta} left",
    );
    let mut student = Student::default();
    let hard = matches!(args.loss, Kind::CrossEntropy);
    let mut order = lessons::Order::new(lessons.sequences(), lessons.ordered(), args.seed);
    // Those of the steps made before.
    order.skip(trainer.steps() as usize * batch * args.accumulate);
    while trainer.steps() < args.steps {
        let mut batches = Vec::new();
        for _ in 0..args.accumulate {
            let written = student.turn(args, &trainer)?;
            batches.push(lessons.batch(order.next(batch), !hard, written)?);
        }
        let step: Step = trainer.step(&batches)?;
        let over = if trainer.steps() == args.steps { 2 } else { 4 };
        if trainer.rejected_in_a_row() >= over {
            return Err(Error::Weights(format!(
                "training diverged: the gradients of the last {} of {} steps were no numbers or exploded; use a lower \
                 --lr or --clip. What {} held stays",
                trainer.rejected_in_a_row(),
                trainer.steps(),
                args.output.display()
            )));
        }
        losses.push(step.loss);
        bar.set_message(format!("loss {:.4}", step.loss));
        bar.set_position(trainer.steps());
        let due = |every: u64| trainer.steps().is_multiple_of(every);
        if args.save_every.is_some_and(due) {
            save(args, &trainer, losses.last())?;
            trainer.suspend(&args.output.join(STATE))?;
        }
    }
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    save(args, &trainer, losses.last())?;
    if args.save_every.is_some() {
        trainer.suspend(&args.output.join(STATE))?;
    }
    if trainer.rejected() > 0 {
        output::note(format_args!(
            "{} of {} steps changed nothing: their gradients were no numbers or exploded; a lower --lr or --clip may help",
            trainer.rejected(),
            trainer.steps()
        ));
    }
    report(args, &trainer, &losses, seconds)
}

fn report(args: &Args, trainer: &Trainer, losses: &[f64], seconds: f64) -> Result<Outcome> {
    if args.json {
        // Infinities and NaN are none in JSON: null.
        output::print(serde_json::json!({
            "losses": losses,
            "steps": trainer.steps(),
            "rejected": trainer.rejected(),
            "seconds": seconds,
            "output": args.output.display().to_string(),
        }))?;
        return Ok(Outcome::Done);
    }
    let folder = args.output.display();
    match losses {
        [first, .., last] => output::print(format_args!(
            "{} steps in {seconds:.1} s, loss {first:.4} → {last:.4}; the draft is in {folder}",
            losses.len(),
        ))?,
        [loss] => output::print(format_args!(
            "1 step in {seconds:.1} s, loss {loss:.4}; the draft is in {folder}"
        ))?,
        [] => output::print(format_args!(
            "{} steps were made before; the draft is in {folder}",
            trainer.steps()
        ))?,
    }
    Ok(Outcome::Done)
}

/// Writes the draft, with where it comes from.
fn save(args: &Args, trainer: &Trainer, loss: Option<&f64>) -> Result<()> {
    let mut lineage = BTreeMap::new();
    let mut say = |key: &str, value: String| lineage.insert(format!("cascadia.{key}"), value);
    say("parent", trainer.model().name());
    say("data", args.data.display().to_string());
    say("steps", trainer.steps().to_string());
    say("settings", format!("{:?}", trainer.settings()));
    if let Some(loss) = loss {
        say("loss", loss.to_string());
    }
    trainer.save(&args.output, &lineage)
}
