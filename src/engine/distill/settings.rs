//! How a draft is trained.

use crate::error::{Error, Result};
use crate::kernels::loss::distill::Loss;

/// What becomes of the learning rate after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Schedule {
    #[default]
    Constant,
    /// Half a cosine down to zero at step `steps`.
    Cosine { steps: u64 },
}

/// How weights change by their gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// AdamW (arXiv 1711.05101): decoupled weight decay, moments corrected for their start at zero.
    AdamW { betas: [f64; 2], eps: f32 },
    /// With momentum, none where 0.
    Sgd { momentum: f32 },
}

/// What AdamW keeps of past gradients, and what gradient descent with momentum does.
pub(super) const MEAN: &str = "mean";
pub(super) const SQUARE: &str = "square";
pub(super) const VELOCITY: &str = "velocity";

impl Optimizer {
    /// What it keeps of past gradients.
    pub(super) fn keeps(&self) -> &'static [&'static str] {
        match self {
            Self::AdamW { .. } => &[MEAN, SQUARE],
            Self::Sgd { .. } => &[VELOCITY],
        }
    }
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::AdamW {
            betas: [0.9, 0.999],
            eps: 1e-8,
        }
    }
}

/// How a draft is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub loss: Loss,
    /// Of the draft's distribution; the target's probabilities are taken as they are.
    pub temperature: f32,
    pub optimizer: Optimizer,
    pub lr: f32,
    /// Steps in which the learning rate rises to `lr`.
    pub warmup: u64,
    pub schedule: Schedule,
    pub weight_decay: f32,
    /// Gradients of a larger norm, all together, are scaled down to it.
    pub clip: Option<f32>,
    /// A step whose gradients have more than so many times the mean norm of the last ones is rejected.
    pub explosion: f32,
    /// Keep only each layer's input for the gradients and compute the rest of it once more: less memory, a third more
    /// work.
    pub recompute: bool,
    /// Train additions of this rank to the layers' projections (LoRA, arXiv 2106.09685) instead of the weights.
    pub low_rank: Option<usize>,
    /// Multiply in halves, with sums and all that is kept in f32, where the adapter has matrix units.
    pub halves: bool,
    /// Of what the additions start from.
    pub seed: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            loss: Loss::ForwardKl,
            temperature: 1.0,
            optimizer: Optimizer::default(),
            lr: 1e-4,
            warmup: 0,
            schedule: Schedule::Constant,
            weight_decay: 0.01,
            clip: None,
            explosion: 1e3,
            recompute: false,
            low_rank: None,
            halves: false,
            seed: 0,
        }
    }
}

impl Settings {
    /// # Errors
    /// [`Error::Usage`] where a number cannot be.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: &str, found: f32, expected: &str| {
            Err(Error::Usage(format!(
                "{what} is {found}; expected {expected}"
            )))
        };
        let positive = |v: f32| v.is_finite() && v > 0.0;
        let some = |v: f32| v.is_finite() && v >= 0.0;
        if !some(self.lr) {
            return refuse("the learning rate", self.lr, "a number of at least 0");
        }
        if !some(self.weight_decay) {
            return refuse(
                "the weight decay",
                self.weight_decay,
                "a number of at least 0",
            );
        }
        if !positive(self.temperature) {
            return refuse("the temperature", self.temperature, "a number above 0");
        }
        if let Some(clip) = self.clip.filter(|&c| !positive(c)) {
            return refuse("the norm to clip to", clip, "a number above 0");
        }
        if self.low_rank == Some(0) {
            return Err(Error::Usage(
                "additions of rank 0 are none; expected a rank of at least 1".into(),
            ));
        }
        match self.loss {
            Loss::Jsd { beta } if !(beta > 0.0 && beta < 1.0) => refuse(
                "beta",
                beta,
                "a number above 0 and below 1: at both the loss is 0 whatever the draft says, close to 0 it is that \
                     share of forward KL, close to 1 of reverse KL",
            ),
            _ => Ok(()),
        }
    }

    /// The learning rate of step `step`, counted from 0.
    pub fn rate(&self, step: u64) -> f32 {
        if step < self.warmup {
            return self.lr * (step + 1) as f32 / self.warmup as f32;
        }
        match self.schedule {
            Schedule::Constant => self.lr,
            Schedule::Cosine { steps } => {
                let whole = steps.saturating_sub(self.warmup).max(1) as f64;
                let part = ((step - self.warmup) as f64 / whole).min(1.0);
                (f64::from(self.lr) * 0.5 * (1.0 + (part * std::f64::consts::PI).cos())) as f32
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Loss, Schedule, Settings};

    #[test]
    fn the_rate_rises_and_falls() {
        let settings = Settings {
            lr: 1.0,
            warmup: 4,
            schedule: Schedule::Cosine { steps: 14 },
            ..Settings::default()
        };
        let rates = [0, 1, 3, 4, 9, 14, 99].map(|step| settings.rate(step));
        let expected = [0.25, 0.5, 1.0, 1.0, 0.5, 0.0, 0.0];
        for (rate, expected) in rates.iter().zip(expected) {
            assert!((rate - expected).abs() < 1e-6, "{rates:?}");
        }
        assert_eq!(Settings::default().rate(7), Settings::default().lr);
    }

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        let fine = Settings::default();
        assert!(fine.check().is_ok());
        for bad in [
            Settings {
                lr: f32::NAN,
                ..fine.clone()
            },
            Settings {
                weight_decay: -1.0,
                ..fine.clone()
            },
            Settings {
                temperature: 0.0,
                ..fine.clone()
            },
            Settings {
                clip: Some(0.0),
                ..fine.clone()
            },
            Settings {
                loss: Loss::Jsd { beta: 1.0 },
                ..fine.clone()
            },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
