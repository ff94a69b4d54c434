//! Where the time of a plan goes: GPU time and bytes of every dispatch, and their shares by category.

use crate::device::{Executable, Timestamps};
use crate::error::Result;
use crate::graph::Source;
use crate::plan::Plan;
use crate::shader::{Category, noise};
use crate::tensor::Tensor;
use std::time::Instant;

/// A plan as it ran.
#[derive(Clone, Debug)]
pub struct Profile {
    pub dispatches: Vec<Row>,
    /// GPU time of the whole plan in milliseconds, the median of the runs, nothing between its dispatches; `None`
    /// where the adapter has no timestamps.
    pub total_ms: Option<f64>,
    /// From submitting to the outputs on the host, in milliseconds: the median of the runs.
    pub wall_ms: f64,
}

/// One dispatch.
#[derive(Clone, Debug)]
pub struct Row {
    pub label: String,
    pub op: &'static str,
    pub scope: String,
    pub category: Category,
    /// What it must at least move.
    pub bytes: u64,
    pub macs: u64,
    /// The median of the runs; `None` where the adapter has no timestamps.
    pub gpu_ms: Option<f64>,
}

/// The dispatches of one category.
#[derive(Clone, Debug)]
pub struct Share {
    pub category: Category,
    pub dispatches: usize,
    pub bytes: u64,
    pub gpu_ms: Option<f64>,
}

impl Profile {
    /// Runs `exe` on `inputs`: once to warm up, `runs` times with a timestamp around every dispatch, `runs` times
    /// around the whole, and `runs` times timed on the host.
    ///
    /// # Errors
    /// What running returns.
    pub fn measure(
        exe: &Executable,
        timestamps: Timestamps,
        inputs: &[Tensor],
        runs: usize,
    ) -> Result<Self> {
        let runs = runs.max(1);
        exe.run(inputs)?;
        let mut each: Vec<Vec<f64>> = vec![Vec::new(); exe.plan().steps.len()];
        let mut total_ms = None;
        if timestamps != Timestamps::None {
            for _ in 0..runs {
                for (times, ms) in each.iter_mut().zip(exe.profile()?.dispatches_ms) {
                    times.push(ms);
                }
            }
            total_ms = median(&mut exe.time(runs)?);
        }
        let mut wall = Vec::with_capacity(runs);
        for _ in 0..runs {
            let begin = Instant::now();
            exe.submit(true)?;
            exe.download()?;
            wall.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        let mut dispatches = rows(exe.plan());
        for (row, times) in dispatches.iter_mut().zip(&mut each) {
            row.gpu_ms = median(times);
        }
        Ok(Self {
            dispatches,
            total_ms,
            wall_ms: median(&mut wall).unwrap_or(0.0),
        })
    }

    /// Every category, those without a dispatch too.
    pub fn shares(&self) -> Vec<Share> {
        (Category::ALL.into_iter())
            .map(|category| {
                let of: Vec<&Row> = (self.dispatches.iter())
                    .filter(|r| r.category == category)
                    .collect();
                Share {
                    category,
                    dispatches: of.len(),
                    bytes: of.iter().map(|r| r.bytes).sum(),
                    // A sum of nothing would be -0.
                    gpu_ms: self
                        .total_ms
                        .map(|_| of.iter().filter_map(|r| r.gpu_ms).fold(0.0, |a, b| a + b)),
                }
            })
            .collect()
    }

    /// Bytes of all dispatches.
    pub fn bytes(&self) -> u64 {
        self.dispatches.iter().map(|r| r.bytes).sum()
    }

    /// The sum of the dispatches' own times, in milliseconds.
    pub fn dispatches_ms(&self) -> Option<f64> {
        self.total_ms?;
        Some(self.dispatches.iter().filter_map(|r| r.gpu_ms).sum())
    }
}

/// The dispatches of `plan`, without times.
pub(super) fn rows(plan: &Plan) -> Vec<Row> {
    (plan.steps.iter())
        .map(|s| Row {
            label: s.dispatch.label(),
            op: s.op,
            scope: s.scope.clone(),
            category: s.dispatch.category,
            bytes: s.dispatch.cost.read_bytes + s.dispatch.cost.write_bytes,
            macs: s.dispatch.cost.macs,
            gpu_ms: None,
        })
        .collect()
}

/// The middle one, the mean of the middle two; `None` of none.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// Elements after which the noise of a weight begins anew, prime: times do not depend on it, and seven billion numbers
/// would take a minute to draw.
const PERIOD: usize = 65_521;

/// Weights that are the same everywhere, for timing a model without a checkpoint: noise that keeps activations in
/// the range of f16, variances and scales of norms positive.
///
/// # Errors
/// None; the type is that of a reader of checkpoints.
pub fn noise_weights(source: &Source) -> Result<Vec<f32>> {
    let seed = (source.name.bytes()).fold(0x811C_9DC5_u32, |h, b| {
        (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
    });
    let n: usize = source.shape.iter().product();
    let [scale, offset] = if source.name.ends_with("running_var") {
        [0.25, 1.0]
    } else if source.name.ends_with("bn.weight") {
        [0.1, 0.5]
    } else if source.shape.len() > 1 {
        let fan_in: usize = source.shape[1..].iter().product();
        [1.0 / (fan_in.max(1) as f32).sqrt(), 0.0]
    } else {
        [0.1, 0.0]
    };
    let mut period = noise(seed, n.min(PERIOD));
    period.iter_mut().for_each(|v| *v = offset + scale * *v);
    let mut values = Vec::with_capacity(n);
    while values.len() < n {
        values.extend_from_slice(&period[..period.len().min(n - values.len())]);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn noise_variances_are_positive_and_fixed() {
        let source = Source {
            name: "a.bn.running_var".into(),
            shape: vec![1000],
            trainable: false,
        };
        let values = noise_weights(&source).unwrap();
        assert!(values.iter().all(|v| *v > 0.5 && *v < 1.5));
        assert_eq!(values, noise_weights(&source).unwrap());
    }
}
