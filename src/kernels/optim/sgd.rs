//! Stochastic gradient descent's update of one weight and its velocity; without momentum too, for one array more.
//!
//! Ceilings: three arrays are read and two written, once: bound by bandwidth, 20 bytes an element.

use super::control;
use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "optim/sgd.wgsl",
    params { n: u32, momentum: f32, decay: f32 },
    binds { g: Read, control: Read, w: Write, v: Write },
}

const WG: u32 = 256;

/// One dispatch after `optim/clip`: w and v f32 `[n]` by the gradient g f32 `[n]`. v is 0 before the first. The learning
/// rate is in `control`.
pub fn dispatch(n: usize, momentum: f32, weight_decay: f32, binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        n: n as u32,
        momentum,
        decay: weight_decay,
    };
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid((n as u64).div_ceil(u64::from(WG)), caps),
        category: Category::Elementwise,
        cost: Cost {
            read_bytes: 12 * n as u64,
            write_bytes: 8 * n as u64,
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
        v: Arg(3),
    };
    let mut cases = Vec::new();
    for (n, momentum, decay, skipped, max_groups) in [
        (1, 0.9, 0.0, 0.0, 65_535),
        (257, 0.0, 0.1, 0.0, 65_535),
        (1500, 0.9, 0.01, 0.0, 3),
        (300, 0.9, 0.01, 1.0, 65_535),
    ] {
        let caps = Caps {
            max_groups,
            ..Caps::default()
        };
        let mut words = control(3, 0.05).to_vec();
        words[1] = skipped;
        words[3] = 0.5;
        cases.push(Case {
            name: format!("{n}, momentum {momentum}"),
            dispatch: dispatch(n, momentum, decay, binds, &caps),
            arrays: vec![
                Array::F32(noise(1, n)),
                Array::F32(words),
                Array::ChangedF32(noise(2, n)),
                Array::ChangedF32(noise(3, n)),
            ],
        });
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let words = &arrays[1];
    let (mut w, mut v) = (arrays[2].clone(), arrays[3].clone());
    if words[1].f64() != 0.0 {
        return vec![w, v];
    }
    let of = |v: f32| R::of(f64::from(v));
    let (factor, rate) = (words[3], words[5]);
    for (i, &g) in arrays[0].iter().enumerate() {
        v[i] = of(p.momentum) * v[i] + factor * g + of(p.decay) * w[i];
        w[i] = w[i] - rate * v[i];
    }
    vec![w, v]
}
