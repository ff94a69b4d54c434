//! What the backward kernels of attention read of each query: its lse, and the product of o and its gradient.
//!
//! Ceilings: o and its gradient are read once: bound by bandwidth.

use super::causal::{CATEGORY, Shape, shapes, stats};
use crate::kernel;
use crate::shader::{Array, Caps, Case, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "attention/causal_stats.wgsl",
    params { batch: u32, len: u32 },
    binds { o: Read, d_o: Read, lse: Read, stats: Write },
}

/// One dispatch: stats f32 `[batch, heads, len, 2]` of o and its gradient f32 `[batch, len, heads, head_dim]` and lse
/// f32 `[batch, heads, len]`.
pub fn dispatch(s: Shape, binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        batch: s.batch as u32,
        len: s.len as u32,
    };
    let mut cost = s.cost(0, [2, 0], [0, 0]);
    cost.write_bytes = 8 * s.lse_len() as u64;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32)
            .set("HEADS", s.heads)
            .set("D", s.head_dim),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(s.lse_len().div_ceil(64) as u64, caps),
        category: CATEGORY,
        cost,
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let binds = Binds {
        o: Arg(0),
        d_o: Arg(1),
        lse: Arg(2),
        stats: Arg(3),
    };
    let case = |(s, caps): (Shape, Caps)| Case {
        name: format!("{s:?}"),
        dispatch: dispatch(s, binds, &caps),
        arrays: vec![
            Array::F32(noise(1, s.q_len())),
            Array::F32(noise(2, s.q_len())),
            Array::F32(noise(3, s.lse_len())),
            Array::OutAs(DType::F32, 2 * s.lse_len()),
        ],
    };
    shapes().into_iter().map(case).collect()
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let size = |name| case.variant().u32(name) as usize;
    let s = Shape {
        batch: p.batch as usize,
        len: p.len as usize,
        keys: 0,
        heads: size("HEADS"),
        kv_heads: 1,
        head_dim: size("D"),
        scale: 1.0,
        causal: false,
        bias: false,
        padded: false,
    };
    vec![stats(s, &arrays[0], &arrays[1], &arrays[2])]
}
