//! What steps cost on the device.

use super::batch::Batch;
use super::plan::Then;
use super::trainer::Trainer;
use crate::error::Result;

impl Trainer {
    /// Milliseconds of the device for each of `runs` steps on `batch`. They are made, but not counted.
    ///
    /// # Errors
    /// As [`Trainer::step`]; [`crate::Error::Device`] where the adapter has no timestamps.
    pub fn step_ms(&mut self, batch: &Batch, runs: usize) -> Result<Vec<f64>> {
        self.ready(batch, Then::Update)?.run.time(runs)
    }

    /// As [`Trainer::step_ms`], of each dispatch of one step: its kernel, milliseconds, bytes and multiply-adds.
    ///
    /// # Errors
    /// As [`Trainer::step_ms`].
    pub fn step_dispatches(&mut self, batch: &Batch) -> Result<Vec<(String, f64, u64, u64)>> {
        let what = self.ready(batch, Then::Update)?;
        let run = &what.run;
        let steps = run.plan().steps.iter().map(|s| &s.dispatch);
        let times = run.profile()?.dispatches_ms;
        let both = steps.zip(times).map(|(d, ms)| {
            let bytes = d.cost.read_bytes + d.cost.write_bytes;
            (d.label(), ms, bytes, d.cost.macs)
        });
        Ok(both.collect())
    }
}
