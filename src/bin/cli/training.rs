//! What `distill` and `train` share: how long and how a model is trained, and the steps themselves.

use super::lessons::Order;
use super::saving::{self, Kept};
use super::{Outcome, output};
use cascadia::engine::distill::{Batch, Loss, Schedule, Settings, Trainer};
use cascadia::engine::language::Language;
use cascadia::io::Lock;
use cascadia::{Error, Result};
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(clap::Args)]
pub struct Training {
    #[arg(long, value_name = "N")]
    steps: u64,
    /// The learning rate
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    lr: f32,
    /// The folder of the trained model
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Sequences of a step; 8, or as many as there are if those are fewer
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Batches whose gradients make one step
    #[arg(long, value_name = "N", default_value_t = 1)]
    accumulate: usize,
    /// Tokens of a sequence of text; 128 without it
    #[arg(long, value_name = "TOKENS")]
    pub length: Option<usize>,
    /// By which a step takes the learning rate's share of each weight away
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.01,
        allow_negative_numbers = true
    )]
    weight_decay: f32,
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
    /// Of the order of texts and of what is drawn
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Save the model, and what a later --resume goes on from, each so many steps
    #[arg(long, value_name = "N")]
    pub save_every: Option<u64>,
    /// Go on from the last save in --output
    #[arg(long)]
    pub resume: bool,
    /// Print one JSON object: `losses`, one a step, and figures
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Falling {
    Constant,
    Cosine,
}

/// What a training is of.
pub struct Course<'a> {
    /// What the model is called.
    pub what: &'a str,
    /// Where its sequences are from.
    pub data: &'a Path,
    pub sequences: usize,
    /// Whether they are taken in their order.
    pub ordered: bool,
    /// Whether the model's weights are another's: not where they were drawn.
    pub given: bool,
    /// What else tells it from other trainings, by the names of flags.
    pub said: Vec<(&'static str, String)>,
}

/// Makes a batch of sequences; see [`Training::run`].
type Batches<'a> = dyn FnMut(&mut Trainer, Vec<usize>, bool) -> Result<Batch> + 'a;

/// Tokens of a batch at most, and batches of a step: far beyond what any device takes, far below where counts overflow.
const MOST: usize = 1 << 20;

impl Training {
    pub fn settings(&self, loss: Loss) -> Settings {
        Settings {
            loss,
            lr: self.lr,
            warmup: self.warmup,
            schedule: match self.schedule {
                Falling::Constant => Schedule::Constant,
                Falling::Cosine => Schedule::Cosine { steps: self.steps },
            },
            weight_decay: self.weight_decay,
            clip: self.clip,
            recompute: self.recompute,
            seed: self.seed as u32,
            ..Settings::default()
        }
    }

    /// Tokens of a sequence of text.
    pub fn length(&self) -> usize {
        self.length.unwrap_or(128)
    }

    /// Refuses what is not built, and what can do nothing.
    pub fn check(&self, settings: &Settings) -> Result<()> {
        let refuse = |message: &str| Err(Error::Usage(message.into()));
        if self.steps == 0 || self.batch == Some(0) || self.accumulate == 0 {
            return refuse("--steps, --batch and --accumulate take at least 1");
        }
        if self.save_every == Some(0) {
            return refuse("--save-every takes at least 1");
        }
        // A batch may have as many sequences as there are, of the length that is asked for.
        let tokens = self.batch.unwrap_or(1).checked_mul(self.length());
        if tokens.is_none_or(|n| n > MOST) {
            return Err(Error::Usage(format!(
                "--batch {} of --length {} is too large: at most {MOST} tokens together; --accumulate makes larger steps",
                self.batch.unwrap_or(1),
                self.length()
            )));
        }
        if self.accumulate > MOST {
            return Err(Error::Usage(format!(
                "--accumulate {} is too many: at most {MOST} batches",
                self.accumulate
            )));
        }
        settings.check()
    }

    /// Locks --output where it is there; refuses it where it holds what is not like `model`.
    pub fn claim(&self, model: &Language) -> Result<Option<Lock>> {
        saving::claim(&self.output, model)
    }

    /// What tells this training from others.
    fn said(&self, course: &Course, settings: &Settings) -> Result<BTreeMap<String, String>> {
        let mut all = BTreeMap::new();
        let mut say = |flag: &str, value: String| all.insert(flag.to_string(), value);
        say("--data", saving::known(course.data)?);
        say("--batch", self.size(course).to_string());
        say("--accumulate", self.accumulate.to_string());
        say("--lr", self.lr.to_string());
        say("--weight-decay", self.weight_decay.to_string());
        say("--warmup", self.warmup.to_string());
        let schedule = match self.schedule {
            Falling::Constant => "constant",
            Falling::Cosine => "cosine",
        };
        say("--schedule", schedule.into());
        say("--clip", self.clip.map_or("none".into(), |c| c.to_string()));
        say("--seed", self.seed.to_string());
        let dtype = if settings.halves { "f16" } else { "f32" };
        say("--dtype", dtype.into());
        for (flag, value) in &course.said {
            say(flag, value.clone());
        }
        Ok(all)
    }

    /// Sequences of a batch.
    fn size(&self, course: &Course) -> usize {
        self.batch.unwrap_or(8.min(course.sequences))
    }

    /// All steps, or those that a run before has not made, each on what `batch` makes of the given sequences, where
    /// told so as if none had been made since the last save; saves and says what came of it.
    pub fn run(
        &self,
        trainer: &mut Trainer,
        course: &Course,
        lock: Option<Lock>,
        mut batch: impl FnMut(&mut Trainer, Vec<usize>, bool) -> Result<Batch>,
    ) -> Result<Outcome> {
        let settings = trainer.settings().clone();
        let said = || self.said(course, &settings);
        let mut kept = Kept::new(self, course, lock, trainer, said)?;
        let size = self.size(course);
        let (mut losses, started) = (Vec::new(), Instant::now());
        let bar = output::bar(
            self.steps,
            "{bar:32} {pos}/{len} steps, {msg} {per_sec} {eta} left",
        );
        let mut order = Order::new(course.sequences, course.ordered, self.seed);
        // Those of the steps made before.
        let before = (trainer.steps() as usize).saturating_mul(size * self.accumulate);
        order.skip(before);
        let (mut anew, mut last) = (true, None);
        while trainer.steps() < self.steps {
            for part in 0..self.accumulate {
                let batch = batch(trainer, order.next(size), std::mem::take(&mut anew))?;
                if let Some(step) = trainer.part(&batch, part, self.accumulate)? {
                    kept.began(step.loss);
                    losses.push(step.loss);
                }
                last = Some(batch);
            }
            self.converges(trainer)?;
            let loss = losses.last().copied().unwrap_or(f64::NAN);
            bar.set_message(format!("loss {loss:.4}"));
            bar.set_position(trainer.steps());
            let due = |every: u64| trainer.steps().is_multiple_of(every);
            if trainer.steps() < self.steps && self.save_every.is_some_and(due) {
                let judged = self.judged(trainer, course, last.as_ref(), &mut batch)?;
                kept.save(trainer, judged, losses.last(), true)?;
                anew = true;
            }
        }
        bar.finish_and_clear();
        let seconds = started.elapsed().as_secs_f64();
        let judged = self.judged(trainer, course, last.as_ref(), &mut batch)?;
        kept.save(trainer, judged, losses.last(), self.save_every.is_some())?;
        if self.save_every.is_none() && !self.resume {
            kept.forget()?;
        }
        if trainer.rejected() > 0 {
            output::note(format_args!(
                "{} of {} steps changed nothing: their gradients were no numbers or exploded; a lower --lr or --clip may \
                 help",
                trainer.rejected(),
                trainer.steps()
            ));
        }
        self.report(trainer, course.what, &losses, seconds)
    }

    /// The losses of the first step's batches and of the `last` one by the weights as they are.
    fn judged(
        &self,
        trainer: &mut Trainer,
        course: &Course,
        last: Option<&Batch>,
        batch: &mut Batches<'_>,
    ) -> Result<[f64; 2]> {
        // What lies in the trainer's table is the last batch's.
        let last = last.map(|batch| trainer.loss(batch)).transpose()?;
        let mut order = Order::new(course.sequences, course.ordered, self.seed);
        let mut first = 0.0;
        for _ in 0..self.accumulate {
            let batch = batch(trainer, order.next(self.size(course)), true)?;
            first += trainer.loss(&batch)? / self.accumulate as f64;
        }
        Ok([first, last.unwrap_or(first)])
    }

    /// Refuses to go on where steps in a row changed nothing.
    fn converges(&self, trainer: &Trainer) -> Result<()> {
        let over = if trainer.steps() == self.steps { 2 } else { 4 };
        if trainer.rejected_in_a_row() < over {
            return Ok(());
        }
        Err(Error::Weights(format!(
            "training diverged: the gradients of the last {} of {} steps were no numbers or exploded; use a lower \
             --lr or --clip. What {} held stays",
            trainer.rejected_in_a_row(),
            trainer.steps(),
            self.output.display()
        )))
    }

    fn report(
        &self,
        trainer: &Trainer,
        what: &str,
        losses: &[f64],
        seconds: f64,
    ) -> Result<Outcome> {
        let folder = self.output.display();
        if self.json {
            // Infinities and NaN are none in JSON: null.
            output::print(serde_json::json!({
                "losses": losses,
                "steps": trainer.steps(),
                "rejected": trainer.rejected(),
                "seconds": seconds,
                "output": folder.to_string(),
            }))?;
            return Ok(Outcome::Done);
        }
        match losses {
            [first, .., last] => output::print(format_args!(
                "{} steps in {seconds:.1} s, loss {first:.4} → {last:.4}; the {what} is in {folder}",
                losses.len(),
            ))?,
            [loss] => output::print(format_args!(
                "1 step in {seconds:.1} s, loss {loss:.4}; the {what} is in {folder}"
            ))?,
            [] => output::print(format_args!(
                "{} steps were made before; the {what} is in {folder}",
                trainer.steps()
            ))?,
        }
        Ok(Outcome::Done)
    }
}
