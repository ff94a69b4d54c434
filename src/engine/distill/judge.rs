//! Whether a training made of a draft something worth keeping.

use super::Loss;
use crate::error::{Error, Result};

/// The norm of all weights may grow to so many times what it was: a draft that is thrown far off may score what it did,
/// or by chance a little more, and has no gradients to come back by.
pub(crate) const GROWN: f64 = 10.0;
/// The share of what a bounded loss lacks to its bound that a draft may come nearer to it.
const WORSE: f64 = 0.75;

/// What a training began with, by which its results are judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Start {
    /// The norm of all weights; `None` where they were drawn, and are to grow.
    pub norm: Option<f64>,
    /// The loss of the first batch before the first step.
    pub loss: f64,
}

impl Start {
    /// The largest loss of a draft that has not diverged.
    fn most(&self, loss: Loss) -> f64 {
        let entropy = |p: f64| -p * p.ln() - (1.0 - p) * (1.0 - p).ln();
        let bound = match loss {
            Loss::Tv => 1.0,
            Loss::Jsd { beta } => entropy(f64::from(beta)),
            Loss::ForwardKl | Loss::ReverseKl | Loss::CrossEntropy => {
                return 2.0 * self.loss + 1.0;
            }
        };
        self.loss + WORSE * (bound - self.loss).max(0.0)
    }

    /// Judges weights of norm `norm`, by which the first batch has now the loss `losses[0]`, and the last one `losses[1]`:
    /// a draft is worse where both are.
    ///
    /// # Errors
    /// [`Error::Weights`]: what tells that the training diverged.
    pub fn check(&self, loss: Loss, norm: f64, losses: [f64; 2]) -> Result<()> {
        let refuse = |what: String| Err(Error::Weights(format!("training diverged: {what}")));
        if !norm.is_finite() {
            return refuse("weights are no finite numbers".into());
        }
        if let Some(start) = self.norm.filter(|start| norm > GROWN * start) {
            return refuse(format!(
                "the norm of all weights is {norm:.3e}, {start:.3e} at the start"
            ));
        }
        let [first, last] = losses;
        if !(self.loss.is_finite() && first.is_finite() && last.is_finite()) {
            return refuse(format!(
                "the loss is no finite number ({} at the start, now {first})",
                self.loss
            ));
        }
        if first.min(last) > self.most(loss) {
            return refuse(format!(
                "the loss of the first batch is {first:.4}, {:.4} at the start",
                self.loss
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Loss, Start};

    #[test]
    fn what_is_worse_is_refused() {
        let start = Start {
            norm: Some(2.0),
            loss: 0.4,
        };
        let jsd = Loss::Jsd { beta: 0.5 };
        for (loss, norm, losses, fine) in [
            (Loss::ForwardKl, 3.0, [0.1, 0.2], true),
            (Loss::ForwardKl, 3.0, [2.0, 0.2], true),
            (Loss::ForwardKl, 3.0, [2.0, 2.0], false),
            (Loss::ForwardKl, 21.0, [0.1, 0.1], false),
            (Loss::ForwardKl, f64::NAN, [0.1, 0.1], false),
            (Loss::ReverseKl, 2.0, [f64::INFINITY, 0.1], false),
            (Loss::Tv, 2.0, [0.8, 0.8], true),
            (Loss::Tv, 2.0, [0.9, 0.9], false),
            (jsd, 2.0, [0.6, 0.6], true),
            (jsd, 2.0, [0.68, 0.68], false),
        ] {
            let found = start.check(loss, norm, losses);
            assert_eq!(found.is_ok(), fine, "{loss:?} {norm} {losses:?}");
        }
        let drawn = Start {
            norm: None,
            ..start
        };
        assert!(drawn.check(jsd, 1e9, [0.1, 0.1]).is_ok());
    }
}
