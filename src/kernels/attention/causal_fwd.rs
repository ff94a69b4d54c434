//! Causal attention of whole sequences in f32, which keeps what its gradients need.
//!
//! Ceilings: keys and values are read once for every 8 to 32 queries, mostly from cache; two multiply-adds for each
//! pair of positions, head and column. Bound by reads of workgroup memory.

use super::causal::{CATEGORY, Shape, attend, shape_of, shapes};
use crate::kernel;
use crate::shader::{Array, Caps, Case, Dispatch, Real, fold_grid};
use crate::tensor::DType;

kernel! {
    "attention/causal_fwd.wgsl",
    params { batch: u32, len: u32, scale: f32 },
    binds { q: Read, k: Read, v: Read, lengths: Read, o: Write, lse: Write },
}

/// One dispatch over q, o f32 `[batch, len, heads, head_dim]`, k, v f32 `[batch, len, kv_heads, head_dim]` and lse f32
/// `[batch, heads, len]`. With `padded`, lengths u32 `[batch]` says how many positions of each sequence there are; the
/// o of others is 0. Without, that binding is q once more.
pub fn dispatch(s: Shape, padded: bool, binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        batch: s.batch as u32,
        len: s.len as u32,
        scale: s.scale,
    };
    Dispatch {
        kernel: &SPEC,
        variant: s.variant().set("LENGTHS", padded),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(s.groups(s.heads), caps),
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
        lengths: Arg(3),
        o: Arg(4),
        lse: Arg(5),
    };
    let mut cases = Vec::new();
    for (i, (s, caps)) in shapes().into_iter().enumerate() {
        let padded = i % 2 == 1;
        let lengths = (0..s.batch).map(|b| (s.len - b * s.len / 2) as u32);
        cases.push(Case {
            name: format!("{s:?}"),
            dispatch: dispatch(s, padded, binds, &caps),
            arrays: vec![
                Array::F32(noise(1, s.q_len())),
                Array::F32(noise(2, s.kv_len())),
                Array::F32(noise(3, s.kv_len())),
                Array::U32(lengths.collect()),
                Array::OutAs(DType::F32, s.q_len()),
                Array::OutAs(DType::F32, s.lse_len()),
            ],
        });
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let padded = case.variant().bool("LENGTHS");
    let lengths = if padded { case.whole(3) } else { &[] };
    let a = [&arrays[0][..], &arrays[1], &arrays[2]];
    attend(shape_of(case, p.batch, p.len, p.scale), lengths, a).to_vec()
}
