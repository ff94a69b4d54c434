//! A step's runs in parts, between which other work of the device comes: each takes as much of its time as is asked for,
//! by what its dispatches were measured to take.

use super::batch::Batch;
use super::plan::Then;
use super::trainer::{Step, Trainer};
use crate::device::{Executable, Parts};
use crate::error::Result;
use crate::kernels::optim::NORM;
use crate::shader::Dispatch;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A loaded plan, and what each of its dispatches takes.
pub(super) struct Timed {
    pub run: Executable,
    takes: Mutex<Vec<Takes>>,
}

/// Milliseconds of a dispatch: guessed from its cost, and as measured with its neighbours.
#[derive(Clone, Copy)]
struct Takes {
    guess: f64,
    measured: Option<f64>,
}

impl Takes {
    /// With guesses off by `pace`.
    fn ms(&self, pace: f64) -> f64 {
        self.measured.unwrap_or(self.guess * pace)
    }
}

/// Milliseconds that a dispatch takes at least, whatever a clock says.
const LEAST: f64 = 1e-3;

/// Milliseconds of a dispatch on a large adapter: its start, its bytes and its multiply-adds, one after the other.
fn guess(d: &Dispatch) -> f64 {
    let bytes = (d.cost.read_bytes + d.cost.write_bytes) as f64;
    2e-3 + bytes / 2e9 + d.cost.macs as f64 / 2e10
}

impl Timed {
    pub fn new(run: Executable) -> Self {
        let steps = run.plan().steps.iter();
        let takes = steps.map(|s| Takes {
            guess: guess(&s.dispatch),
            measured: None,
        });
        Self {
            takes: Mutex::new(takes.collect()),
            run,
        }
    }

    fn takes(&self) -> MutexGuard<'_, Vec<Takes>> {
        self.takes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn steps(&self) -> usize {
        self.run.plan().steps.len()
    }

    /// Where a part from `begin` on ends that takes up to `ms`, of one dispatch at least, and what it takes.
    fn part(&self, begin: usize, ms: f64, pace: f64) -> (usize, f64) {
        let (mut end, mut sum) = (begin, 0.0);
        for takes in &self.takes()[begin..] {
            let next = sum + takes.ms(pace);
            if end > begin && next > ms {
                break;
            }
            (end, sum) = (end + 1, next);
        }
        (end, sum)
    }

    /// Takes note of a part that took `ms`; by how much guesses were off.
    fn note(&self, begin: usize, end: usize, ms: f64, pace: f64) -> f64 {
        let mut takes = self.takes();
        let all = &mut takes[begin..end];
        let known: f64 = all.iter().map(|t| t.ms(pace)).sum();
        let guessed: f64 = all.iter().map(|t| t.guess).sum();
        for t in all {
            t.measured = Some((t.ms(pace) * ms / known.max(1e-9)).max(LEAST));
        }
        ms / guessed.max(1e-9)
    }
}

/// A run under way, and the part of it that was submitted last.
pub(super) struct Running {
    what: Arc<Timed>,
    part: [usize; 2],
}

/// A draft as it is trained by now.
#[derive(Clone, Copy, Debug)]
pub struct Score {
    /// What [`Trainer::overlap`] returns.
    pub overlap: f64,
    /// The norm of all weights that are trained.
    pub norm: f64,
}

/// What the parts of a trainer's runs take.
#[derive(Default)]
pub(super) struct Pace {
    parts: Option<Parts>,
    running: Option<Running>,
    /// By how much guesses are off; none was tried yet where 0.
    pace: f64,
    /// What the longest part so far was to take: the next is at most twice as long.
    longest: f64,
    /// When the first dispatches of the last part were submitted.
    submitted: Option<Instant>,
}

impl Trainer {
    /// Has `what` run in the parts that follow.
    pub(super) fn begin(&mut self, what: Arc<Timed>) {
        let part = [0, 0];
        self.pace.running = Some(Running { what, part });
    }

    /// Whether a run was begun and not all of it submitted yet.
    pub fn running(&self) -> bool {
        (self.pace.running.as_ref()).is_some_and(|r| r.part[1] < r.what.steps())
    }

    /// Submits dispatches of the run under way that take up to `ms` of the device, one at least; all that are left where
    /// it is infinite.
    ///
    /// # Errors
    /// [`crate::Error::Device`] where memory is short; [`crate::Error::DeviceLost`].
    pub fn advance(&mut self, ms: f64) -> Result<()> {
        self.took()?;
        let device = self.model().device().clone();
        let p = &mut self.pace;
        let Some(running) = &mut p.running else {
            return Ok(());
        };
        let begin = running.part[1];
        if ms.is_infinite() && begin == 0 {
            running.part = [0, running.what.steps()];
            return running.what.run.submit(true);
        }
        let parts = match &mut p.parts {
            Some(parts) => parts,
            none => none.insert(Parts::new(&device)?),
        };
        let most = if ms.is_infinite() {
            ms
        } else {
            ms.min(2.0 * p.longest)
        };
        let (end, sum) = running.what.part(begin, most, p.pace.max(1e-3));
        p.longest = p.longest.max(sum);
        running.part = [begin, end];
        p.submitted = Some(parts.submit(&running.what.run, begin..end)?);
        Ok(())
    }

    /// When the device got the first dispatches of the part that was submitted last.
    pub fn submitted(&self) -> Option<Instant> {
        self.pace.submitted
    }

    /// Milliseconds of the device for the part that was submitted last, once it has run; `None` where that was told
    /// before.
    ///
    /// # Errors
    /// [`crate::Error::DeviceLost`] where the device went.
    pub fn took(&mut self) -> Result<Option<f64>> {
        let p = &mut self.pace;
        let (Some(parts), Some(running)) = (&mut p.parts, &p.running) else {
            return Ok(None);
        };
        let took = parts.wait()?;
        if let Some(ms) = took {
            let [begin, end] = running.part;
            let off = running.what.note(begin, end, ms, p.pace.max(1e-3));
            p.pace = match p.pace > 0.0 {
                true => 0.7 * p.pace + 0.3 * off,
                false => off,
            };
        }
        Ok(took)
    }

    /// The rest of the run under way, and its outputs.
    pub(super) fn outcome(&mut self) -> Result<Vec<Vec<f32>>> {
        if self.running() {
            self.advance(f64::INFINITY)?;
        }
        self.took()?;
        let Some(running) = self.pace.running.take() else {
            return Ok(Vec::new());
        };
        let out = running.what.run.download()?;
        Ok(out.iter().map(crate::tensor::Tensor::to_f32).collect())
    }

    /// Begins the run that scores `batch`; [`Trainer::scored`] ends it.
    ///
    /// # Errors
    /// As [`Trainer::overlap`].
    pub fn begin_overlap(&mut self, batch: &Batch) -> Result<()> {
        self.check(batch, false)?;
        let what = self.ready(batch, Then::Score)?;
        self.begin(what);
        Ok(())
    }

    /// What the run says that [`Trainer::begin_overlap`] began.
    ///
    /// # Errors
    /// As [`Trainer::overlap`].
    pub fn scored(&mut self) -> Result<Score> {
        let out = self.outcome()?;
        Ok(Score {
            // The kernel's is minus the share that is accepted.
            overlap: -sum(&out),
            norm: out.get(1).map_or(f64::NAN, |all| f64::from(all[NORM])),
        })
    }

    /// The loss of `batch` by the weights as they are. None of them changes.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn loss(&mut self, batch: &Batch) -> Result<f64> {
        self.check(batch, self.hard())?;
        let what = self.ready(batch, Then::Loss)?;
        self.begin(what);
        let out = self.outcome()?;
        Ok(self.loss_of(&out))
    }

    /// As [`Trainer::part`], in parts of its own.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn begin_part(&mut self, batch: &Batch, index: usize, of: usize) -> Result<()> {
        let then = self.prepare(batch, index, of)?;
        let what = self.ready(batch, then)?;
        self.begin(what);
        Ok(())
    }

    /// Ends what [`Trainer::begin_part`] began.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn end_part(&mut self, index: usize, of: usize) -> Result<Option<Step>> {
        let out = self.outcome()?;
        self.note(&out, index, of)
    }
}

/// Of the losses of all rows.
pub(super) fn sum(out: &[Vec<f32>]) -> f64 {
    let losses = out.first().map_or(&[][..], Vec::as_slice);
    losses.iter().map(|&v| f64::from(v)).sum()
}
