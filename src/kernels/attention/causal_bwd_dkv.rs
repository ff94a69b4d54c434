//! The gradients of attention by its keys and values, summed over the heads that share them.
//!
//! Ceilings: queries and gradients are read once for every 8 to 32 keys, mostly from cache; four multiply-adds for each
//! pair of positions, head and column. Bound by reads of workgroup memory.

use super::causal::{CATEGORY, Shape, backward_inputs, gradients_of, shapes};
use crate::kernel;
use crate::shader::{Array, Caps, Case, Dispatch, Real, fold_grid};
use crate::tensor::DType;

kernel! {
    "attention/causal_bwd_dkv.wgsl",
    params { batch: u32, len: u32, keys: u32, scale: f32 },
    binds { q: Read, k: Read, v: Read, d_o: Read, stats: Read, bias: Read, lengths: Read, d_kv: Write },
}

/// One dispatch: dk, then dv, f32 `[2, batch, keys, kv_heads, head_dim]`, with the gradient of o f32
/// `[batch, len, heads, head_dim]`, stats f32 `[batch, heads, len, 2]` of `causal_stats`, and bias and lengths as
/// `causal_fwd` has them.
pub fn dispatch(s: Shape, binds: Binds, caps: &Caps) -> Dispatch {
    Dispatch {
        kernel: &SPEC,
        variant: s.variant(),
        params: s.params(),
        args: binds.args(),
        grid: fold_grid(s.groups(s.keys, s.kv_heads), caps),
        category: CATEGORY,
        cost: s.cost(4, [2, 2], [0, 2]),
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::Arg;
    let binds = Binds {
        q: Arg(0),
        k: Arg(1),
        v: Arg(2),
        d_o: Arg(3),
        stats: Arg(4),
        bias: Arg(5),
        lengths: Arg(6),
        d_kv: Arg(7),
    };
    let case = |(s, caps): (Shape, Caps)| {
        let mut arrays = backward_inputs(s);
        arrays.push(Array::OutAs(DType::F32, 2 * s.kv_len()));
        Case {
            name: format!("{s:?}"),
            dispatch: dispatch(s, binds, &caps),
            arrays,
        }
    };
    shapes().into_iter().map(case).collect()
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let [_, dk, dv, _] = gradients_of(case, arrays);
    vec![[dk, dv].concat()]
}
