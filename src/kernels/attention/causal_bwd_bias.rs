//! The gradient of what is added to the scores of attention by head and distance between query and key.
//!
//! No atomics: a workgroup owns distances, and adds up their pairs in one order. Each sequence has sums of its own;
//! `reduce/columns` adds those.
//! Ceilings: keys and values are read once for every 8 to 32 queries, mostly from cache; two multiply-adds for each
//! pair of positions, head and column.

use super::causal::{CATEGORY, Shape, backward_inputs, gradients_of, shapes};
use crate::kernel;
use crate::shader::{Array, Caps, Case, Cost, Dispatch, Real, fold_grid};
use crate::tensor::DType;

kernel! {
    "attention/causal_bwd_bias.wgsl",
    params { batch: u32, len: u32, keys: u32, scale: f32 },
    binds { q: Read, k: Read, v: Read, d_o: Read, stats: Read, bias: Read, lengths: Read, parts: Write },
}

/// Distances of a workgroup.
const BD: usize = 32;

/// One dispatch: parts f32 `[batch, heads, len + keys - 1]`, each sequence's share of the gradient of the bias, with the
/// gradient of o f32 `[batch, len, heads, head_dim]`, stats f32 `[batch, heads, len, 2]` of `causal_stats`, and bias and
/// lengths as `causal_fwd` has them.
pub fn dispatch(s: Shape, binds: Binds, caps: &Caps) -> Dispatch {
    let parts = s.batch * s.heads * s.span();
    let cost = s.cost(2, [2, 2], [0, 0]);
    Dispatch {
        kernel: &SPEC,
        variant: s.variant(),
        params: s.params(),
        args: binds.args(),
        grid: fold_grid((s.batch * s.heads * s.span().div_ceil(BD)) as u64, caps),
        category: CATEGORY,
        cost: Cost {
            write_bytes: 4 * parts as u64,
            ..cost
        },
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
        parts: Arg(7),
    };
    let case = |(s, caps): (Shape, Caps)| {
        let mut arrays = backward_inputs(s);
        let parts = s.batch * s.heads * s.span();
        arrays.push(Array::OutAs(DType::F32, parts));
        Case {
            name: format!("{s:?}"),
            dispatch: dispatch(s, binds, &caps),
            arrays,
        }
    };
    let biased = shapes().into_iter().filter(|(s, _)| s.bias);
    biased.map(case).collect()
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let [.., dbias] = gradients_of(case, arrays);
    vec![dbias]
}
