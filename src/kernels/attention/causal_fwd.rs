//! Attention of whole sequences in f32, which keeps what its gradients need.
//!
//! Ceilings: keys and values are read once for every 8 to 32 queries, mostly from cache; two multiply-adds for each
//! pair of positions, head and column. Bound by reads of workgroup memory.

use super::causal::{CATEGORY, Seen, Shape, attend, more_inputs, shape_of, shapes};
use crate::kernel;
use crate::shader::{Array, Caps, Case, Dispatch, Real, fold_grid};
use crate::tensor::DType;

kernel! {
    "attention/causal_fwd.wgsl",
    params { batch: u32, len: u32, keys: u32, scale: f32 },
    binds { q: Read, k: Read, v: Read, bias: Read, lengths: Read, o: Write, lse: Write },
}

/// One dispatch over q, o f32 `[batch, len, heads, head_dim]`, k, v f32 `[batch, keys, kv_heads, head_dim]` and lse f32
/// `[batch, heads, len]`; the o of a query that sees nothing is 0. Without bias or lengths, those bindings are q once
/// more.
pub fn dispatch(s: Shape, binds: Binds, caps: &Caps) -> Dispatch {
    Dispatch {
        kernel: &SPEC,
        variant: s.variant(),
        params: s.params(),
        args: binds.args(),
        grid: fold_grid(s.groups(s.len, s.heads), caps),
        category: CATEGORY,
        cost: s.cost(2, [1, 2], [1, 0]),
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let binds = Binds {
        q: Arg(0),
        k: Arg(1),
        v: Arg(2),
        bias: Arg(3),
        lengths: Arg(4),
        o: Arg(5),
        lse: Arg(6),
    };
    let case = |(s, caps): (Shape, Caps)| {
        let [bias, lengths] = more_inputs(s);
        Case {
            name: format!("{s:?}"),
            dispatch: dispatch(s, binds, &caps),
            arrays: vec![
                Array::F32(noise(1, s.q_len())),
                Array::F32(noise(2, s.kv_len())),
                Array::F32(noise(3, s.kv_len())),
                bias,
                lengths,
                Array::OutAs(DType::F32, s.q_len()),
                Array::OutAs(DType::F32, s.lse_len()),
            ],
        }
    };
    shapes().into_iter().map(case).collect()
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let seen = Seen {
        bias: &arrays[3],
        lengths: case.whole(4),
    };
    let a = [&arrays[0][..], &arrays[1], &arrays[2]];
    attend(shape_of(case), seen, a).to_vec()
}
