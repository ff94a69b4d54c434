//! What is asked of a model: how the next token is chosen, how many, and how a draft is used.

use crate::error::{Error, Result};
use crate::io::Generation;

/// How the next token is chosen from the logits, in the order of the fields, bottom to top, as transformers has it:
/// penalty, temperature, top-k, top-p, min-p. The same for target and draft.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the most likely token.
    pub temperature: f32,
    /// Only the so many most likely; 0 keeps all.
    pub top_k: u32,
    /// Only the most likely whose probabilities together reach this; 1 keeps all.
    pub top_p: f32,
    /// Only those with this part of the most likely one's probability; 0 keeps all.
    pub min_p: f32,
    /// Divides the positive logits of tokens that are there already, and multiplies the negative ones; 1 changes none.
    pub repetition_penalty: f32,
}

impl Default for Sampling {
    /// Greedy.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
        }
    }
}

impl Sampling {
    /// What a publisher's generation_config.json says; greedy where it does not say to sample.
    pub fn of(published: &Generation) -> Self {
        let greedy = Self::default();
        let repetition_penalty = published.repetition_penalty.unwrap_or(1.0);
        if published.do_sample != Some(true) {
            return Self {
                repetition_penalty,
                ..greedy
            };
        }
        Self {
            temperature: published.temperature.unwrap_or(1.0),
            top_k: published.top_k.unwrap_or(0),
            top_p: published.top_p.unwrap_or(1.0),
            min_p: published.min_p.unwrap_or(0.0),
            repetition_penalty,
        }
    }

    /// Whether the fields can be.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the first that cannot.
    pub fn check(&self) -> Result<()> {
        for (name, value, least, most) in [
            ("temperature", self.temperature, 0.0, 1e4),
            ("top-p", self.top_p, f32::MIN_POSITIVE, 1.0),
            ("min-p", self.min_p, 0.0, 1.0),
            ("repetition penalty", self.repetition_penalty, 1e-3, 1e3),
        ] {
            // A NaN is in no range.
            if !(least..=most).contains(&value) {
                let least = if least == f32::MIN_POSITIVE {
                    "above 0".into()
                } else {
                    format!("{least}")
                };
                return Err(Error::Usage(format!(
                    "the {name} is {value}; expected {least} to {most}"
                )));
            }
        }
        Ok(())
    }
}

/// How many tokens a draft proposes in a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DraftLen {
    /// As many as pay, by what was measured; none where the draft is of no use.
    #[default]
    Auto,
    Fixed(usize),
    Off,
}

/// What is asked of a model.
#[derive(Clone, Debug)]
pub struct Request {
    /// At most so many new tokens.
    pub max_new: usize,
    pub sampling: Sampling,
    /// The same seed gives the same tokens.
    pub seed: u64,
    pub draft_len: DraftLen,
    /// Tokens that end the text; they are the last of the result.
    pub stop: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_named() {
        let greedy = Sampling::default();
        assert!(greedy.check().is_ok());
        for (sampling, name) in [
            (Sampling { temperature: -1.0, ..greedy }, "temperature"),
            (Sampling { temperature: f32::NAN, ..greedy }, "temperature"),
            (Sampling { top_p: 0.0, ..greedy }, "top-p"),
            (Sampling { min_p: 1.5, ..greedy }, "min-p"),
            (Sampling { repetition_penalty: 0.0, ..greedy }, "penalty"),
        ] {
            let message = sampling.check().unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
    }
}
