//! What the parts of a round cost on the device, by its own clock: c and v(k) of the cost model (section 1.8 of
//! "Online Speculative Decoding").

use super::plans;
use super::session::{Drafting, Session};
use crate::device::Executable;
use crate::engine::profile::{Row, median, rows};
use crate::error::{Error, Result};
use crate::models::language::Config;
use std::time::Instant;

/// How long a device is kept busy before it is timed.
const WARM_MS: u128 = 400;

impl Session {
    /// Milliseconds of the target's run that verifies `proposals`, as the sequence stands: the median of `runs`. The
    /// sequence is afterwards as it was.
    ///
    /// # Errors
    /// [`Error::Usage`] where nothing was generated yet; [`Error::Device`] where the adapter has no timestamps.
    pub fn verify_ms(&mut self, proposals: usize, runs: usize) -> Result<f64> {
        let plan = plans::verify(&mut self.target, proposals, false, None)?;
        let mut times = Vec::with_capacity(runs);
        self.warm(&[&plan])?;
        for _ in 0..runs {
            self.rewind()?;
            times.extend(plan.time(1)?);
        }
        self.rewind()?;
        median(&mut times).ok_or_else(|| Error::Usage("no run was asked for".into()))
    }

    /// Seconds of a step of the target without proposals, as the sequence stands, by the host's clock: the mean of up to
    /// eight, one behind the other. The sequence is afterwards as it was.
    ///
    /// # Errors
    /// [`Error::Usage`] where nothing was generated yet; what running returns.
    pub fn plain_seconds(&mut self) -> Result<f64> {
        let plan = plans::verify(&mut self.target, 0, false, None)?;
        let mut steps = |count: usize| -> Result<f64> {
            let begun = Instant::now();
            for _ in 0..count {
                self.rewind()?;
                plan.submit(false)?;
            }
            plan.wait()?;
            Ok(begun.elapsed().as_secs_f64() / count as f64)
        };
        // The first may make something.
        let first = steps(1)?;
        let mean = steps(((0.2 / first) as usize).clamp(1, 8))?;
        self.rewind()?;
        Ok(mean)
    }

    /// Runs `plans` for a while: a device that idled runs slowly at first.
    fn warm(&mut self, plans: &[&Executable]) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed().as_millis() < WARM_MS {
            for _ in 0..8 {
                self.rewind()?;
                for plan in plans {
                    plan.submit(false)?;
                }
            }
            for plan in plans {
                plan.wait()?;
            }
        }
        Ok(())
    }

    /// Each dispatch of that run, with its time between two timestamps.
    ///
    /// # Errors
    /// As [`Session::verify_ms`].
    pub fn verify_dispatches(&mut self, proposals: usize) -> Result<Vec<Row>> {
        let plan = plans::verify(&mut self.target, proposals, false, None)?;
        self.warm(&[&plan])?;
        self.rewind()?;
        let times = plan.profile()?.dispatches_ms;
        self.rewind()?;
        let mut rows = rows(plan.plan());
        for (row, ms) in rows.iter_mut().zip(times) {
            row.gpu_ms = Some(ms);
        }
        Ok(rows)
    }

    /// Runs the last token once more and says which part of the model is the first whose values are not finite.
    pub(super) fn blame(&mut self) -> Result<String> {
        self.rewind()?;
        let cached = self.target.cached(1);
        let graph = (self.target.model)
            .graph(&cached, |g, logits| g.output("head", logits))?
            .with_scopes();
        let exe = self.target.model.load(&self.target.store, &graph)?;
        let values = exe.run(&[])?;
        let names = exe.plan().outputs.iter().map(|p| &p.name);
        let first = names
            .zip(&values)
            .find(|(_, t)| t.to_f32().iter().any(|v| !v.is_finite()));
        Ok(match first {
            Some((name, _)) => {
                format!(": `{name}` is the first part of the model whose values are not")
            }
            None => ", but those of the last token alone are".into(),
        })
    }

    /// The target's keys and values of `layer` that the sequence has: of each head its keys, then of each its values,
    /// [positions, head_dim].
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no such layer.
    pub fn cache(&self, layer: usize) -> Result<Vec<Vec<f32>>> {
        let [heads, head_dim] = match self.target().config() {
            Config::Decoder(c) => [c.kv_heads, c.head_dim],
            Config::T5(c) => [c.heads, c.head_dim],
        };
        let name = format!("cache.{layer}");
        let all = self.target.store.read(&name)?.to_f32();
        let known = self
            .known
            .len()
            .saturating_sub(1)
            .min(self.target.room.capacity);
        Ok(all
            .chunks(all.len() / (2 * heads))
            .map(|head| head[..known * head_dim].to_vec())
            .collect())
    }

    /// Milliseconds in which the draft proposes one token; `None` where there is no model that drafts.
    ///
    /// # Errors
    /// As [`Session::verify_ms`].
    pub fn propose_ms(&mut self, runs: usize) -> Result<Option<f64>> {
        self.catch_up(0)?;
        let Drafting::Model(draft) = &mut self.drafting else {
            return Ok(None);
        };
        let plans = plans::propose(draft, 1, true)?;
        let plans: Vec<&Executable> = plans.iter().map(|p| p.as_ref()).collect();
        self.warm(&plans)?;
        let mut times = Vec::with_capacity(runs);
        for _ in 0..runs {
            self.rewind()?;
            for plan in &plans {
                times.extend(plan.time(1)?);
            }
        }
        self.rewind()?;
        Ok(median(&mut times))
    }

    /// Milliseconds in which the target reads `rows` tokens from the first position on: the median of `runs`. What the
    /// sequence was is forgotten.
    ///
    /// # Errors
    /// As [`Session::verify_ms`]; what loading returns.
    pub fn prefill_ms(&mut self, rows: usize, runs: usize) -> Result<f64> {
        let begun = Instant::now();
        while begun.elapsed().as_millis() < WARM_MS {
            self.target.time_fill(0, rows)?;
        }
        let mut times = Vec::with_capacity(runs);
        for _ in 0..runs {
            times.push(self.target.time_fill(0, rows)?);
        }
        self.forget();
        median(&mut times).ok_or_else(|| Error::Usage("no run was asked for".into()))
    }
}
