//! How a draft learns while it serves.

use crate::engine::distill::Loss;
use crate::error::{Error, Result};
use std::path::PathBuf;
use std::time::Duration;

/// Of which tokens the target's distributions are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Positions {
    /// Those that the target put in the place of a rejected proposal, or after the last accepted one.
    #[default]
    Errors,
    /// Accepted proposals, too.
    All,
}

/// Whose texts the target's distributions are learned along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The target's: what was served. Verification computed the distributions.
    #[default]
    Teacher,
    /// The draft's own: it answers the requests' prompts once more when an update begins, and the target reads that. All
    /// tokens of it are learned, as none of them is corrected.
    Student,
    /// Every second request, by chance, the draft's own.
    Mixed,
}

/// How a draft learns while it serves.
#[derive(Clone, Debug)]
pub struct OnlineSettings {
    /// Requests after which an update is due, I of the paper's Algorithm 1.
    pub interval: usize,
    /// Distributions after which one is due, whatever the interval.
    pub max_rows: usize,
    /// The age of the oldest distribution at which one is due.
    pub max_age: Duration,
    /// Bytes of distributions on the device, buffered or being learned from; bounds `max_rows`.
    pub max_bytes: u64,
    pub positions: Positions,
    pub source: Source,
    /// Keep of each distribution only the likeliest tokens that have this probability together, on the host, at 4 bytes
    /// each (6 beyond 65,536 tokens); what this drops is told in [`super::Dropped`]. `max_bytes` bounds those, then.
    pub keep_top: Option<f32>,
    /// Distributions of earlier buffers that are learned from again, in each update as many of them as new ones, and at
    /// least as many as it is judged by; as many as `max_rows` at most.
    pub remember: usize,
    pub loss: Loss,
    /// The learning rate, at most: an update that is rolled back halves it, one that stands raises it by half. So a draft
    /// that has nothing to learn is left alone before long; where its proposals go much worse than usual, it is back.
    pub lr: f32,
    /// Steps of an update, each over the whole buffer; the paper's code makes one.
    pub steps: usize,
    /// Train additions of this rank to the weights alone ([`crate::engine::distill::Settings::low_rank`]): less memory,
    /// and new weights go through the host.
    pub low_rank: Option<usize>,
    /// Sequences of a run of the device, at most: they bound its memory.
    pub sequences: usize,
    /// Tokens of context that a distribution is learned in, at most.
    pub context: usize,
    /// Milliseconds of the device that a slice of an update should take at most. It has as many dispatches as were
    /// measured to fit, and one at least.
    pub slice_ms: f64,
    /// The share of the time of serving that updates may take, and of each round that a slice after it may. With 0 all is
    /// left to [`super::Online::idle`].
    pub share: f64,
    /// An update that lowers Σ min(p, q) on held-out rows by more is rolled back.
    pub tolerance: f64,
    /// Compute the draft's keys and values again with new weights, from the next request on. Without, those of tokens
    /// that are there stay as they are: proposals may be a little worse until the text is another, the output's law
    /// is the target's either way.
    pub rebuild: bool,
    /// The folder of the draft: read at the start where it has one, written after each update that stands.
    pub save: Option<PathBuf>,
}

impl Default for OnlineSettings {
    fn default() -> Self {
        Self {
            interval: 8,
            max_rows: 2048,
            max_age: Duration::from_secs(600),
            max_bytes: 512 << 20,
            positions: Positions::default(),
            source: Source::default(),
            keep_top: None,
            remember: 1024,
            loss: Loss::ForwardKl,
            lr: 1e-3,
            steps: 1,
            low_rank: None,
            sequences: 16,
            context: 256,
            slice_ms: 10.0,
            share: 0.03,
            tolerance: 0.0,
            rebuild: false,
            save: None,
        }
    }
}

impl OnlineSettings {
    /// # Errors
    /// [`Error::Usage`] where a number cannot be.
    pub fn check(&self) -> Result<()> {
        for (what, value) in [
            ("the interval", self.interval),
            ("the number of rows", self.max_rows),
            ("the steps of an update", self.steps),
            ("the sequences of a slice", self.sequences),
            ("the context", self.context),
        ] {
            if value == 0 {
                return Err(Error::Usage(format!("{what} is 0; expected at least 1")));
            }
        }
        if self.loss == Loss::CrossEntropy {
            return Err(Error::Usage(
                "a draft that learns while it serves learns from distributions: cross entropy has labels".into(),
            ));
        }
        if !(0.0..=1.0).contains(&self.share) {
            return Err(Error::Usage(format!(
                "the share of time is {}; expected 0 to 1",
                self.share
            )));
        }
        if let Some(top) = self.keep_top.filter(|top| !(*top > 0.0 && *top <= 1.0)) {
            return Err(Error::Usage(format!(
                "a part of {top} of a distribution is kept; expected more than 0, and 1 at most"
            )));
        }
        if self.slice_ms.is_nan() || self.slice_ms <= 0.0 {
            return Err(Error::Usage(format!(
                "a slice of {} ms; expected more than 0",
                self.slice_ms
            )));
        }
        Ok(())
    }
}
