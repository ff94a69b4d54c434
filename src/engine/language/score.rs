//! Logits of given tokens, and how well a model foresees a text.

use super::model::{Language, Room};
use super::runner::Runner;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use std::sync::Arc;

/// Rows of a run whose logits come to the host.
const ROWS: [usize; 3] = [128, 16, 1];

/// A model that tells the logits of given tokens.
pub struct Scorer {
    runner: Runner<usize>,
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
        let vocab = self.runner.model.config().vocab();
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

    fn within(&self, tokens: &[u32]) -> Result<()> {
        let (most, vocab) = (
            self.runner.room.positions,
            self.runner.model.config().vocab(),
        );
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
        let vocab = self.runner.model.config().vocab();
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

impl Runner<usize> {
    /// The run of `rows` tokens whose logits come to the host.
    fn plan_of(&mut self, rows: usize) -> Result<Arc<crate::device::Executable>> {
        self.plan(rows, |runner| {
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
