//! Gradients of an activation of its own, as T5's first feed-forward layer has it.
//!
//! Ceilings: x and dy are read once and dx is written once: bound by bandwidth.

use super::gated_bwd::slope;
use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "elementwise/unary_bwd.wgsl",
    params { n: u32 },
    binds { x: Read, dy: Read, dx: Write },
}

const WG: u32 = 256;

/// One dispatch over `n` elements of x, dy and dx, f32. `act`: "relu", "silu" or "gelu".
pub fn dispatch(n: u32, act: &'static str, binds: Binds, caps: &Caps) -> Dispatch {
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32).choose("unary_grad", act),
        params: bytemuck::bytes_of(&Params { n }).to_vec(),
        args: binds.args(),
        grid: fold_grid(u64::from(n.div_ceil(WG)), caps),
        category: Category::Elementwise,
        cost: Cost {
            read_bytes: 8 * u64::from(n),
            write_bytes: 4 * u64::from(n),
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let binds = Binds {
        x: Arg(0),
        dy: Arg(1),
        dx: Arg(2),
    };
    let mut cases = Vec::new();
    for (act, n, max_groups) in [("relu", 1, 65_535), ("gelu", 257, 65_535), ("silu", 700, 2)] {
        let caps = Caps {
            max_groups,
            ..Caps::default()
        };
        let len = n as usize;
        let x = noise(1, len).iter().map(|v| v * 3.0).collect();
        cases.push(Case {
            name: format!("{act} of {n}"),
            dispatch: dispatch(n, act, binds, &caps),
            arrays: vec![
                Array::F32(x),
                Array::F32(noise(2, len)),
                Array::OutAs(DType::F32, len),
            ],
        });
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let act = case.variant().choice("unary_grad");
    let both = arrays[0].iter().zip(&arrays[1]);
    vec![both.map(|(&x, &dy)| dy * slope(act, x)[1]).collect()]
}
