//! How tokens are drawn, as a request says it and as the kernels read it.

use super::SETTINGS;
use crate::error::{Error, Result};

/// How tokens are drawn. The same for target and draft.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Divides the logits. 0 (and below 1e-6): always the likeliest token.
    pub temperature: f32,
    /// Only so many of the likeliest tokens, and those as likely as the last of them. 0: all.
    pub top_k: u32,
    /// Only the fewest of the likeliest tokens that together have this probability. 1: all.
    pub top_p: f32,
    /// Only tokens at least this times as likely as the likeliest. 0: all.
    pub min_p: f32,
    /// Divides the positive logits of tokens in the history, multiplies the others. 1: none.
    pub penalty: f32,
    pub seed: u64,
}

impl Default for Settings {
    /// The model's own distribution.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            penalty: 1.0,
            seed: 0,
        }
    }
}

impl Settings {
    /// Always the likeliest token.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            ..Self::default()
        }
    }

    /// What a sequence's row of the state `settings` holds: temperature, top_k, top_p, min_p, penalty, seed (low,
    /// high), 0; floats by their bits.
    pub fn words(&self) -> [u32; SETTINGS] {
        [
            self.temperature.to_bits(),
            self.top_k,
            self.top_p.to_bits(),
            self.min_p.to_bits(),
            self.penalty.to_bits(),
            self.seed as u32,
            (self.seed >> 32) as u32,
            0,
        ]
    }

    /// The inverse of [`Settings::words`].
    pub fn of_words(words: &[u32]) -> Self {
        let word = |i: usize| words.get(i).copied().unwrap_or_default();
        Self {
            temperature: f32::from_bits(word(0)),
            top_k: word(1),
            top_p: f32::from_bits(word(2)),
            min_p: f32::from_bits(word(3)),
            penalty: f32::from_bits(word(4)),
            seed: u64::from(word(5)) | u64::from(word(6)) << 32,
        }
    }

    /// # Errors
    /// [`Error::Usage`] naming the setting that is out of its range.
    pub fn check(&self) -> Result<()> {
        let fail = |name: &str, v: f32, range: &str| {
            Err(Error::Usage(format!("{name} is {v}; it must be {range}")))
        };
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return fail("temperature", self.temperature, "a finite number from 0 up");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return fail("top-p", self.top_p, "above 0 and at most 1");
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return fail("min-p", self.min_p, "from 0 to 1");
        }
        if !(self.penalty.is_finite() && self.penalty > 0.0) {
            return fail(
                "the repetition penalty",
                self.penalty,
                "a finite number above 0",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back() {
        let s = Settings {
            temperature: 0.7,
            top_k: 40,
            top_p: 0.9,
            min_p: 0.05,
            penalty: 1.1,
            seed: 0x0123_4567_89AB_CDEF,
        };
        assert_eq!(Settings::of_words(&s.words()), s);
        assert!(s.check().is_ok() && Settings::greedy().check().is_ok());
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let wrong = [
            (
                "temperature",
                Settings {
                    temperature: -1.0,
                    ..Settings::default()
                },
            ),
            (
                "temperature",
                Settings {
                    temperature: f32::NAN,
                    ..Settings::default()
                },
            ),
            (
                "top-p",
                Settings {
                    top_p: 0.0,
                    ..Settings::default()
                },
            ),
            (
                "min-p",
                Settings {
                    min_p: 1.5,
                    ..Settings::default()
                },
            ),
            (
                "penalty",
                Settings {
                    penalty: f32::INFINITY,
                    ..Settings::default()
                },
            ),
        ];
        for (name, settings) in wrong {
            let message = settings
                .check()
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default();
            assert!(message.contains(name), "{name}: {message}");
        }
    }
}
