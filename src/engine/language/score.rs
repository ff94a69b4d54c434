//! Logits of given tokens, and how well a model foresees a text.

use super::model::{Language, Room};
use super::plans::{KEPT, KEPT_SLOTS};
use super::runner::Runner;
use crate::device::{Executable, Store};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};
use std::ops::Range;
use std::sync::Arc;

/// Rows of a run whose logits come to the host, and of one whose distributions stay on the device.
const ROWS: [usize; 3] = [128, 16, 1];
const KEPT_ROWS: [usize; 6] = [1024, 512, 256, 128, 16, 1];

/// Bytes of the logits of a run whose distributions stay, and of the distributions that there is room for, at most,
/// where a sequence does not take more.
const LOGITS: usize = 64 << 20;

/// The state of the last row of a run that is kept: all.
const LAST: &str = "last";

/// What a run of so many rows is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Run {
    Logits(usize),
    /// Bits of the temperature.
    Keep(usize, u32),
}

/// A model that tells the logits of given tokens.
pub struct Scorer {
    runner: Runner<Run>,
}

impl Scorer {
    /// A scorer of sequences of up to `positions` tokens.
    ///
    /// # Errors
    /// What making its memory returns.
    pub fn new(model: &Arc<Language>, positions: usize) -> Result<Self> {
        Ok(Self {
            runner: Runner::new(model, Room::of(positions)),
        })
    }

    /// Bytes on the device beside the model's weights.
    pub fn bytes(&self) -> u64 {
        self.runner.bytes()
    }

    /// Reads `prompt` with the model's encoder.
    ///
    /// # Errors
    /// [`Error::Usage`] where the model has none or the prompt is too long.
    pub fn encode(&mut self, prompt: &[u32]) -> Result<()> {
        self.within(prompt)?;
        self.runner.encode(prompt)
    }

    /// The logits f32 [tokens, vocabulary] of the token after each of `tokens`, the first of which stands at position 0.
    ///
    /// # Errors
    /// [`Error::Usage`] where there are none or too many, or one is beyond the vocabulary.
    pub fn logits(&mut self, tokens: &[u32]) -> Result<Tensor> {
        let vocab = self.vocab();
        let mut all = Vec::with_capacity(tokens.len() * vocab);
        self.each(tokens, |_, logits| all.extend_from_slice(logits))?;
        Tensor::from_f32(&[tokens.len(), vocab], &all)
    }

    /// The sum of -ln p(token | those before it) over all of `tokens` but the first, and how many those are.
    ///
    /// # Errors
    /// As [`Scorer::logits`].
    pub fn surprise(&mut self, tokens: &[u32]) -> Result<(f64, usize)> {
        let mut sum = 0.0;
        self.each(tokens, |at, logits| {
            if let Some(&next) = tokens.get(at + 1) {
                sum += negative_log(logits, next as usize);
            }
        })?;
        Ok((sum, tokens.len() - 1))
    }

    /// Distributions that there is room for on the device ([`Scorer::keep`]): those of at least one sequence.
    pub fn kept_rows(&self) -> usize {
        let positions = self.runner.room.positions;
        (LOGITS / 4 / self.vocab() / positions).max(1) * positions
    }

    /// Puts the target's distributions after `tokens[taught]`, softmax(logits / `temperature`), into rows `first`.. of
    /// the state [`Session::KEPT`](super::Session::KEPT) of [`Scorer::store`], f32 [[`Scorer::kept_rows`], vocabulary]. The
    /// first of `tokens` stands at position 0. Nothing is waited for, nor is looked whether they are numbers.
    ///
    /// # Errors
    /// As [`Scorer::logits`].
    pub fn keep(
        &mut self,
        tokens: &[u32],
        taught: Range<usize>,
        first: usize,
        temperature: f32,
    ) -> Result<()> {
        self.within(tokens)?;
        let (vocab, ring) = (self.vocab(), self.kept_rows());
        let store = self.runner.store.clone();
        store.make(KEPT, DType::F32, ring * vocab)?;
        store.make(KEPT_SLOTS, DType::U32, KEPT_ROWS[0])?;
        store.make(LAST, DType::U32, 1)?;
        let slot = |at: usize| match taught.contains(&at) {
            true => (first + at - taught.start) as u32,
            false => u32::MAX,
        };
        let tokens = &tokens[..taught.end.min(tokens.len())];
        let capacity = self.runner.room.capacity;
        let mut at = 0;
        while at < tokens.len() {
            let left = tokens.len() - at;
            // A run may go beyond the end: nothing of what it computes there is looked at.
            let within = |r: usize| r <= left || (r < 2 * left && at + r <= capacity);
            let fits = |r: &usize| within(*r) && 4 * r * vocab <= LOGITS;
            let rows = KEPT_ROWS.into_iter().find(fits).unwrap_or(1);
            let plan = self.keeping(rows, ring, temperature)?;
            if at == 0 {
                store.write("history", 0, tokens)?;
                store.write(LAST, 0, &[u32::MAX])?;
            }
            store.write("start", 0, &[at as u32])?;
            let slots: Vec<u32> = (at..at + rows).map(slot).collect();
            store.write(KEPT_SLOTS, 0, &slots)?;
            plan.submit(false)?;
            at += rows;
        }
        Ok(())
    }

    fn keeping(&mut self, rows: usize, ring: usize, temperature: f32) -> Result<Arc<Executable>> {
        let vocab = self.vocab();
        (self.runner).plan(Run::Keep(rows, temperature.to_bits()), |runner| {
            let graph = (runner.model).graph(&runner.cached(rows), |g, logits| {
                let slots = g.state(KEPT_SLOTS, &[KEPT_ROWS[0]], DType::U32);
                let last = g.state(LAST, &[1], DType::U32);
                let kept = g.state(KEPT, &[ring, vocab], DType::F32);
                let done = logits.keep(last, slots, kept, temperature);
                g.output(LAST, last.after(&[done]));
            })?;
            runner.model.load(&runner.store, &graph)
        })
    }

    /// The memory of its sequence.
    pub fn store(&self) -> &Store {
        &self.runner.store
    }

    /// The tokens of a distribution.
    pub fn vocab(&self) -> usize {
        self.runner.model.config().vocab()
    }

    fn within(&self, tokens: &[u32]) -> Result<()> {
        let (most, vocab) = (self.runner.room.positions, self.vocab());
        if tokens.is_empty() || tokens.len() > most {
            return Err(Error::Usage(format!(
                "{} tokens were given; expected 1 to {most}",
                tokens.len()
            )));
        }
        match tokens.iter().position(|&t| t as usize >= vocab) {
            Some(at) => Err(Error::Usage(format!(
                "token {} at position {at} is beyond the model's vocabulary of {vocab}",
                tokens[at]
            ))),
            None => Ok(()),
        }
    }

    fn each(&mut self, tokens: &[u32], mut row: impl FnMut(usize, &[f32])) -> Result<()> {
        self.within(tokens)?;
        let vocab = self.vocab();
        let (first, store) = (self.runner.plan_of(1)?, self.runner.store.clone());
        drop(first);
        store.write("history", 0, tokens)?;
        let mut at = 0;
        while at < tokens.len() {
            let left = tokens.len() - at;
            let rows = ROWS.into_iter().find(|&r| r <= left).unwrap_or(1);
            let plan = self.runner.plan_of(rows)?;
            store.write("start", 0, &[at as u32])?;
            let out = plan.run(&[])?;
            let values = out[0].to_f32();
            for (i, logits) in values.chunks(vocab).enumerate() {
                row(at + i, logits);
            }
            at += rows;
        }
        Ok(())
    }
}

impl Runner<Run> {
    /// The run of `rows` tokens whose logits come to the host.
    fn plan_of(&mut self, rows: usize) -> Result<Arc<Executable>> {
        self.plan(Run::Logits(rows), |runner| {
            let graph = (runner.model).graph(&runner.cached(rows), |g, l| g.output("logits", l))?;
            runner.model.load(&runner.store, &graph)
        })
    }
}

/// -ln softmax(logits)[at].
fn negative_log(logits: &[f32], at: usize) -> f64 {
    let most = logits.iter().fold(f32::MIN, |a, &b| a.max(b));
    let sum: f64 = (logits.iter()).map(|&l| f64::from(l - most).exp()).sum();
    sum.ln() - f64::from(logits[at] - most)
}

#[cfg(test)]
mod tests {
    use super::negative_log;

    #[test]
    fn even_logits_are_a_surprise_of_the_vocabularys_logarithm() {
        assert!((negative_log(&[3.0; 8], 5) - 8f64.ln()).abs() < 1e-9);
        assert!(negative_log(&[100.0, 0.0], 0) < 1e-9);
        assert!((negative_log(&[100.0, 0.0], 1) - 100.0).abs() < 1e-3);
    }
}
