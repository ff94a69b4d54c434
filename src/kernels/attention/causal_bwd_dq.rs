//! The gradient of causal attention by its queries.
//!
//! Ceilings: keys and values are read once for every 8 to 32 queries, mostly from cache; three multiply-adds for each
//! pair of positions, head and column. Bound by reads of workgroup memory.

use super::causal::{CATEGORY, Shape, backward_inputs, gradients, shape_of, shapes};
use crate::kernel;
use crate::shader::{Array, Caps, Case, Dispatch, Real, fold_grid};
use crate::tensor::DType;

kernel! {
    "attention/causal_bwd_dq.wgsl",
    params { batch: u32, len: u32, scale: f32 },
    binds { q: Read, k: Read, v: Read, d_o: Read, stats: Read, dq: Write },
}

/// One dispatch: dq f32 `[batch, len, heads, head_dim]`, with the gradient of o of the same shape, and stats f32
/// `[batch, heads, len, 2]` of `causal_stats`.
pub fn dispatch(s: Shape, binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        batch: s.batch as u32,
        len: s.len as u32,
        scale: s.scale,
    };
    Dispatch {
        kernel: &SPEC,
        variant: s.variant(),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(s.groups(s.heads), caps),
        category: CATEGORY,
        cost: s.cost(3, [2, 2], [1, 0]),
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
        dq: Arg(5),
    };
    let case = |(s, caps): (Shape, Caps)| {
        let mut arrays = backward_inputs(s);
        arrays.push(Array::OutAs(DType::F32, s.q_len()));
        Case {
            name: format!("{s:?}"),
            dispatch: dispatch(s, binds, &caps),
            arrays,
        }
    };
    shapes().into_iter().map(case).collect()
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let [dq, ..] = gradients(shape_of(case, p.batch, p.len, p.scale), arrays);
    vec![dq]
}
