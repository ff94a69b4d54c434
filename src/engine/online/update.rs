//! An update of the draft in slices: held-out rows are scored, steps are made, the rows are scored again, and what got
//! worse is rolled back.

use super::lesson::{Lesson, batches};
use crate::engine::distill::{Batch, Trainer};
use crate::error::Result;

/// What became of an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The draft is to be served as it is now.
    Stands,
    /// It is as it was before.
    RolledBack,
}

/// What is next.
enum Stage {
    Before(usize),
    Train { step: usize, part: usize },
    After(usize),
}

pub struct Update {
    taught: Vec<Batch>,
    held: Vec<Batch>,
    steps: usize,
    tolerance: f64,
    stage: Stage,
    /// Σ over held-out rows of Σ min(p, q), before and after.
    before: f64,
    after: f64,
    /// Rows that it learns from.
    pub rows: usize,
    /// Steps that changed nothing, as their gradients were no numbers or exploded.
    pub rejected: usize,
    sound: bool,
}

impl Update {
    /// `held`: what it is judged by; `taught` itself where there is none.
    pub fn new(
        taught: &[Lesson],
        held: &[Lesson],
        sequences: usize,
        steps: usize,
        tolerance: f64,
        vocab: usize,
    ) -> Self {
        let held = if held.is_empty() { taught } else { held };
        Self {
            rows: taught.iter().map(|l| l.rows.len()).sum(),
            taught: batches(taught, sequences, vocab),
            held: batches(held, sequences, vocab),
            steps,
            tolerance,
            stage: Stage::Before(0),
            before: 0.0,
            after: 0.0,
            rejected: 0,
            sound: true,
        }
    }

    /// Mean Σ min(p, q) of the held-out rows, before and after.
    pub fn overlaps(&self) -> [f64; 2] {
        let rows: usize = self.held.iter().map(|b| b.rows.len()).sum();
        [self.before, self.after].map(|sum| sum / rows.max(1) as f64)
    }

    /// One slice; what became of it at the end.
    ///
    /// # Errors
    /// What running returns.
    pub fn slice(&mut self, trainer: &mut Trainer) -> Result<Option<Verdict>> {
        match self.stage {
            Stage::Before(i) => {
                if i == 0 {
                    trainer.mark()?;
                }
                self.before += score(trainer, &self.held[i])?;
                self.stage = match i + 1 < self.held.len() {
                    true => Stage::Before(i + 1),
                    false => Stage::Train { step: 0, part: 0 },
                };
            }
            Stage::Train { step, part } => {
                let of = self.taught.len();
                if let Some(done) = trainer.part(&self.taught[part], part, of)? {
                    // One whose gradients exploded changed nothing, and the others are not to be trusted then.
                    self.sound &= done.loss.is_finite() && done.applied;
                    self.rejected += usize::from(!done.applied);
                }
                self.stage = if part + 1 < of {
                    Stage::Train {
                        step,
                        part: part + 1,
                    }
                } else if step + 1 < self.steps && self.sound {
                    Stage::Train {
                        step: step + 1,
                        part: 0,
                    }
                } else {
                    Stage::After(0)
                };
            }
            Stage::After(i) => {
                self.after += score(trainer, &self.held[i])?;
                if i + 1 < self.held.len() {
                    self.stage = Stage::After(i + 1);
                    return Ok(None);
                }
                let [before, after] = self.overlaps();
                // Not the other way round: a NaN is no gain.
                if self.sound && after >= before - self.tolerance {
                    return Ok(Some(Verdict::Stands));
                }
                trainer.back()?;
                return Ok(Some(Verdict::RolledBack));
            }
        }
        Ok(None)
    }
}

fn score(trainer: &mut Trainer, batch: &Batch) -> Result<f64> {
    Ok(trainer.overlap(batch)? * batch.rows.len() as f64)
}
