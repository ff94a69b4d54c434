//! Causal attention of whole sequences on matrix units, which keeps what its gradients need.
//!
//! Ceilings: two products of 16 × 16 blocks for each pair of blocks that sees one another, of which the scores' pass
//! through workgroup memory: bound by that memory, and by exponentials.

use super::causal::{CATEGORY, Coop, Kept, Shape, attend, coop_shape, coop_shapes, plain};
use crate::kernel;
use crate::shader::{Array, Caps, Case, Dispatch, Real, fold_grid};
use crate::tensor::DType;

kernel! {
    "attention/causal_fwd_coop.wgsl",
    params { batch: u32, len: u32, scale: f32 },
    binds { q: Read, k: Read, v: Read, o: Write, lse: Write },
}

/// How it runs on such an adapter; `None` where it does not.
pub fn choose(s: Shape, caps: &Caps) -> Option<Coop> {
    let kept = Kept {
        rows: 1,
        tiles: 2,
        weights: 1,
        blocks: 1,
    };
    s.coop(kept, caps)
}

/// One dispatch over q, o f32 `[batch, len, heads, head_dim]`, k, v f32 `[batch, len, kv_heads, head_dim]` and lse f32
/// `[batch, heads, len]`.
pub fn dispatch(s: Shape, coop: Coop, binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        batch: s.batch as u32,
        len: s.len as u32,
        scale: s.scale,
    };
    Dispatch {
        kernel: &SPEC,
        variant: s.coop_variant(coop),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(s.coop_groups(s.heads, coop), caps),
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
        o: Arg(3),
        lse: Arg(4),
    };
    let case = |(s, caps): (Shape, Caps)| {
        Some(Case {
            name: format!("{s:?}"),
            dispatch: dispatch(s, choose(s, &caps)?, binds, &caps),
            arrays: vec![
                Array::F32(noise(1, s.q_len())),
                Array::F32(noise(2, s.kv_len())),
                Array::F32(noise(3, s.kv_len())),
                Array::OutAs(DType::F32, s.q_len()),
                Array::OutAs(DType::F32, s.lse_len()),
            ],
        })
    };
    coop_shapes().into_iter().filter_map(case).collect()
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let a = [&arrays[0][..], &arrays[1], &arrays[2]];
    attend(coop_shape(case, p.batch, p.len, p.scale), plain(), a).to_vec()
}
