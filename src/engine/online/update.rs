//! An update of the draft in slices: held-out rows are scored, steps are made, the rows are scored again, and what got
//! worse is rolled back.

use super::lesson::{Batching, Lesson};
use crate::engine::distill::{Batch, GROWN, Trainer};
use crate::error::Result;

/// What became of an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The draft is to be served as it is now.
    Stands,
    /// It is as it was before.
    RolledBack,
}

/// What runs, or is next.
#[derive(Clone, Copy)]
enum Stage {
    /// Weights and moments are marked, to come back to.
    Mark,
    Before(usize),
    Train {
        step: usize,
        part: usize,
    },
    After(usize),
    Back,
}

pub struct Update {
    taught: Vec<Batch>,
    held: Vec<Batch>,
    steps: usize,
    tolerance: f64,
    stage: Stage,
    begun: bool,
    /// Σ over held-out rows of Σ min(p, q), before and after.
    before: f64,
    after: f64,
    /// Of the weights, before.
    norm: f64,
    /// Rows that it learns from.
    pub rows: usize,
    /// Steps that changed nothing, as their gradients were no numbers or exploded.
    pub rejected: usize,
    sound: bool,
}

impl Update {
    /// `held`: what it is judged by.
    pub fn new(
        taught: &[Lesson],
        held: &[Lesson],
        batching: Batching,
        steps: usize,
        tolerance: f64,
    ) -> Self {
        Self {
            rows: taught.iter().map(|l| l.rows.len()).sum(),
            taught: batching.of(taught),
            held: batching.of(held),
            steps,
            tolerance,
            stage: Stage::Mark,
            begun: false,
            before: 0.0,
            after: 0.0,
            norm: 0.0,
            rejected: 0,
            sound: true,
        }
    }

    /// Mean Σ min(p, q) of the held-out rows, before and after.
    pub fn overlaps(&self) -> [f64; 2] {
        let rows: usize = self.held.iter().map(|b| b.rows.len()).sum();
        [self.before, self.after].map(|sum| sum / rows.max(1) as f64)
    }

    /// One slice of up to `ms` of the device, of one dispatch at least; what became of it at the end. The result of a run
    /// is read in the slice after its last: so nothing that was submitted in between is waited for.
    ///
    /// # Errors
    /// What running returns.
    pub fn slice(&mut self, trainer: &mut Trainer, ms: f64) -> Result<Option<Verdict>> {
        if self.begun && !trainer.running() {
            self.begun = false;
            if let Some(verdict) = self.end(trainer)? {
                return Ok(Some(verdict));
            }
        }
        if !self.begun {
            self.begin(trainer)?;
            self.begun = true;
        }
        trainer.advance(ms)?;
        Ok(None)
    }

    fn begin(&self, trainer: &mut Trainer) -> Result<()> {
        match self.stage {
            Stage::Mark => trainer.begin_mark(),
            Stage::Before(i) | Stage::After(i) => trainer.begin_overlap(&self.held[i]),
            Stage::Train { part, .. } => {
                trainer.begin_part(&self.taught[part], part, self.taught.len())
            }
            Stage::Back => trainer.begin_back(),
        }
    }

    /// Takes what ran, and says what is next.
    fn end(&mut self, trainer: &mut Trainer) -> Result<Option<Verdict>> {
        let (held, of) = (self.held.len(), self.taught.len());
        self.stage = match self.stage {
            Stage::Mark => {
                trainer.end_copies()?;
                trainer.standing(true);
                Stage::Before(0)
            }
            Stage::Before(i) => {
                let score = trainer.scored()?;
                self.before += score.overlap * self.held[i].rows.len() as f64;
                self.norm = score.norm;
                match i + 1 < held {
                    true => Stage::Before(i + 1),
                    false => Stage::Train { step: 0, part: 0 },
                }
            }
            Stage::Train { step, part } => {
                if let Some(done) = trainer.end_part(part, of)? {
                    // One whose gradients exploded changed nothing, and the others are not to be trusted then.
                    self.sound &= done.loss.is_finite() && done.applied;
                    self.rejected += usize::from(!done.applied);
                }
                if part + 1 < of {
                    let part = part + 1;
                    Stage::Train { step, part }
                } else if step + 1 < self.steps && self.sound {
                    let step = step + 1;
                    Stage::Train { step, part: 0 }
                } else {
                    Stage::After(0)
                }
            }
            Stage::After(i) => {
                let score = trainer.scored()?;
                self.after += score.overlap * self.held[i].rows.len() as f64;
                // Not the other way round: a NaN is not sound.
                self.sound &= score.norm <= GROWN * self.norm;
                let [before, after] = self.overlaps();
                if i + 1 < held {
                    Stage::After(i + 1)
                } else if self.sound && after >= before - self.tolerance {
                    // Nor here: a NaN is no gain.
                    trainer.standing(false);
                    return Ok(Some(Verdict::Stands));
                } else {
                    Stage::Back
                }
            }
            Stage::Back => {
                trainer.end_copies()?;
                trainer.standing(false);
                return Ok(Some(Verdict::RolledBack));
            }
        };
        Ok(None)
    }
}
