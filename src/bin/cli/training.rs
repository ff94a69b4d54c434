//! What `distill` and `train` share: how long and how a model is trained, and the steps themselves.

use super::lessons::Order;
use super::{Outcome, output};
use cascadia::engine::distill::{Batch, Loss, Schedule, Settings, Trainer};
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
    output: PathBuf,
    /// Sequences of a step; 8, or as many as there are if those are fewer
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Batches whose gradients make one step
    #[arg(long, value_name = "N", default_value_t = 1)]
    accumulate: usize,
    /// Tokens of a sequence of text
    #[arg(long, value_name = "TOKENS", default_value_t = 128)]
    pub length: usize,
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
    save_every: Option<u64>,
    /// Go on from the last save in --output
    #[arg(long)]
    resume: bool,
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
}

/// What a later run goes on from, in the model's folder.
const STATE: &str = "training.safetensors";

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

    /// Refuses what is not built, and what can do nothing.
    pub fn check(&self, settings: &Settings) -> Result<()> {
        let refuse = |message: &str| Err(Error::Usage(message.into()));
        if self.steps == 0 || self.batch == Some(0) || self.accumulate == 0 {
            return refuse("--steps, --batch and --accumulate take at least 1");
        }
        if self.save_every == Some(0) {
            return refuse("--save-every takes at least 1");
        }
        settings.check()
    }

    /// All steps, or those that a run before has not made, each on what `batch` makes of the given sequences; saves
    /// and says what came of it.
    pub fn run(
        &self,
        trainer: &mut Trainer,
        course: &Course,
        mut batch: impl FnMut(&mut Trainer, Vec<usize>) -> Result<Batch>,
    ) -> Result<Outcome> {
        let state = self.output.join(STATE);
        if self.resume {
            trainer.resume(&state)?;
        }
        let size = self.batch.unwrap_or(8.min(course.sequences));
        let (mut losses, started) = (Vec::new(), Instant::now());
        let bar = output::bar(
            self.steps,
            "{bar:32} {pos}/{len} steps, {msg} {per_sec} {eta} left",
        );
        let mut order = Order::new(course.sequences, course.ordered, self.seed);
        // Those of the steps made before.
        order.skip(trainer.steps() as usize * size * self.accumulate);
        while trainer.steps() < self.steps {
            for part in 0..self.accumulate {
                let batch = batch(trainer, order.next(size))?;
                if let Some(step) = trainer.part(&batch, part, self.accumulate)? {
                    losses.push(step.loss);
                }
            }
            self.converges(trainer)?;
            let loss = losses.last().copied().unwrap_or(f64::NAN);
            bar.set_message(format!("loss {loss:.4}"));
            bar.set_position(trainer.steps());
            let due = |every: u64| trainer.steps().is_multiple_of(every);
            if self.save_every.is_some_and(due) {
                self.save(trainer, course, losses.last())?;
                trainer.suspend(&state)?;
            }
        }
        bar.finish_and_clear();
        let seconds = started.elapsed().as_secs_f64();
        self.save(trainer, course, losses.last())?;
        if self.save_every.is_some() {
            trainer.suspend(&state)?;
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

    /// Writes the model, with where it comes from.
    fn save(&self, trainer: &Trainer, course: &Course, loss: Option<&f64>) -> Result<()> {
        let mut lineage = BTreeMap::new();
        let mut say = |key: &str, value: String| lineage.insert(format!("cascadia.{key}"), value);
        say("parent", trainer.model().name());
        say("data", course.data.display().to_string());
        say("steps", trainer.steps().to_string());
        say("settings", format!("{:?}", trainer.settings()));
        if let Some(loss) = loss {
            say("loss", loss.to_string());
        }
        trainer.save(&self.output, &lineage)
    }
}
