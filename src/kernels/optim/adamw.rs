//! AdamW's update of one weight and its two moments, as PyTorch's (arXiv 1711.05101).
//!
//! Ceilings: four arrays are read and three written, once: bound by bandwidth, 28 bytes an element.

use super::control;
use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "optim/adamw.wgsl",
    params {
        n: u32, beta1: f32, rest1: f32, log_beta1: f32, beta2: f32, rest2: f32, log_beta2: f32,
        eps: f32, decay: f32,
    },
    binds { g: Read, control: Read, w: Write, m: Write, v: Write },
}

/// Elements of a workgroup.
const EACH: u64 = 256 * 4;

/// What does not change from update to update; the learning rate is in `control`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Each at least 0 and below 1.
    pub betas: [f64; 2],
    pub eps: f32,
    /// Share of the learning rate by which weights shrink.
    pub weight_decay: f32,
}

impl Default for Settings {
    /// PyTorch's.
    fn default() -> Self {
        Self {
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.01,
        }
    }
}

/// One dispatch after `optim/clip`: w, m and v f32 `[n]` by the gradient g f32 `[n]`. m and v are 0 before the first.
pub fn dispatch(n: usize, settings: Settings, binds: Binds, caps: &Caps) -> Dispatch {
    let [beta1, beta2] = settings.betas;
    let params = Params {
        n: n as u32,
        beta1: beta1 as f32,
        rest1: (1.0 - beta1) as f32,
        log_beta1: beta1.max(1e-30).ln() as f32,
        beta2: beta2 as f32,
        rest2: (1.0 - beta2) as f32,
        log_beta2: beta2.max(1e-30).ln() as f32,
        eps: settings.eps,
        decay: settings.weight_decay,
    };
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid((n as u64).div_ceil(EACH), caps),
        category: Category::Elementwise,
        cost: Cost {
            read_bytes: 16 * n as u64,
            write_bytes: 12 * n as u64,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let binds = Binds {
        g: Arg(0),
        control: Arg(1),
        w: Arg(2),
        m: Arg(3),
        v: Arg(4),
    };
    let mut cases = Vec::new();
    for (n, updates, skipped, betas, max_groups) in [
        (1, 1, 0.0, [0.9, 0.999], 65_535),
        (257, 2, 0.0, [0.9, 0.999], 65_535),
        (4700, 1000, 0.0, [0.8, 0.95], 3),
        (300, 3, 1.0, [0.9, 0.999], 65_535),
        (64, 1, 0.0, [0.0, 0.5], 65_535),
    ] {
        let caps = Caps {
            max_groups,
            ..Caps::default()
        };
        let mut words = control(updates, 1e-3).to_vec();
        words[1] = skipped;
        words[3] = 0.75;
        let settings = Settings {
            betas,
            weight_decay: 0.1,
            ..Settings::default()
        };
        let squares = noise(4, n).iter().map(|v| v * v * 0.01).collect();
        cases.push(Case {
            name: format!("{n}, update {updates}"),
            dispatch: dispatch(n, settings, binds, &caps),
            arrays: vec![
                Array::F32(noise(1, n)),
                Array::F32(words),
                Array::ChangedF32(noise(2, n).iter().map(|v| v * 0.01).collect()),
                Array::ChangedF32(noise(3, n).iter().map(|v| v * 0.1).collect()),
                Array::ChangedF32(squares),
            ],
        });
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let words = &arrays[1];
    let mut out = [2, 3, 4].map(|i: usize| arrays[i].clone());
    if words[1].f64() != 0.0 {
        return out.to_vec();
    }
    let of = |v: f32| R::of(f64::from(v));
    let (factor, rate) = (words[3], words[5]);
    let correction = |log: f32| R::of(-(words[0].f64() * f64::from(log)).exp_m1());
    let [w, m, v] = &mut out;
    for (i, &g) in arrays[0].iter().enumerate() {
        let d = factor * g;
        m[i] = of(p.beta1) * m[i] + of(p.rest1) * d;
        v[i] = of(p.beta2) * v[i] + of(p.rest2) * d * d;
        let size = (v[i] / correction(p.log_beta2)).sqrt() + of(p.eps);
        w[i] = w[i] - rate * of(p.decay) * w[i];
        w[i] = w[i] - rate * (m[i] / correction(p.log_beta1)) / size;
    }
    out.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::Arg;

    // Ten updates by the published rule, each line of which names what it computes, from the betas themselves.
    #[test]
    fn ten_updates_are_those_of_the_published_rule() {
        let at = Arg(0);
        let binds = Binds {
            g: at,
            control: at,
            w: at,
            m: at,
            v: at,
        };
        let settings = Settings::default();
        let case = Case {
            name: String::new(),
            dispatch: dispatch(1, settings, binds, &Caps::default()),
            arrays: vec![Array::OutAs(DType::F32, 1); 5],
        };
        let mut state = [0.5, 0.0, 0.0].map(|v| vec![v]).to_vec();
        let (mut w, mut mean, mut square) = (0.5_f64, 0.0_f64, 0.0_f64);
        for t in 1..=10 {
            let g = (f64::from(t) * 1.7).sin();
            let words = control(t as u32, 1e-3).map(f64::from).to_vec();
            let arrays: Vec<Vec<f64>> = [vec![vec![g], words], state].concat();
            state = reference(&case, &arrays);
            mean = 0.9 * mean + 0.1 * g;
            square = 0.999 * square + 0.001 * g * g;
            let (mean, square) = (
                mean / (1.0 - 0.9_f64.powi(t)),
                square / (1.0 - 0.999_f64.powi(t)),
            );
            w = w * (1.0 - 1e-3 * 0.01) - 1e-3 * mean / (square.sqrt() + 1e-8);
            assert!(
                (state[0][0] - w).abs() < 1e-8,
                "{t}: {} for {w}",
                state[0][0]
            );
        }
    }
}
