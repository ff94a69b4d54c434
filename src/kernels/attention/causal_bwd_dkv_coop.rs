//! The gradients of causal attention by its keys and values, on matrix units.
//!
//! Ceilings: four products of 16 × 16 blocks for each pair of blocks that sees one another, two of which pass through
//! workgroup memory: bound by that memory.

use super::causal::{
    CATEGORY, Coop, Kept, Shape, backward_inputs, coop_shape, coop_shapes, gradients, plain,
};
use crate::kernel;
use crate::shader::{Array, Caps, Case, Dispatch, Real, fold_grid};
use crate::tensor::DType;

kernel! {
    "attention/causal_bwd_dkv_coop.wgsl",
    params { batch: u32, len: u32, scale: f32 },
    binds { q: Read, k: Read, v: Read, d_o: Read, stats: Read, d_kv: Write },
}

/// How it runs on such an adapter; `None` where it does not.
pub fn choose(s: Shape, caps: &Caps) -> Option<Coop> {
    let kept = Kept {
        rows: 2,
        tiles: 2,
        weights: 2,
        blocks: 2,
    };
    s.coop(kept, caps)
}

/// One dispatch: as `causal_bwd_dkv`.
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
        grid: fold_grid(s.coop_groups(s.kv_heads, coop), caps),
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
        d_kv: Arg(5),
    };
    let case = |(s, caps): (Shape, Caps)| {
        let mut arrays = backward_inputs(s);
        arrays.truncate(5);
        arrays.push(Array::OutAs(DType::F32, 2 * s.kv_len()));
        Some(Case {
            name: format!("{s:?}"),
            dispatch: dispatch(s, choose(s, &caps)?, binds, &caps),
            arrays,
        })
    };
    coop_shapes().into_iter().filter_map(case).collect()
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let [_, dk, dv, _] = gradients(coop_shape(case, p.batch, p.len, p.scale), plain(), arrays);
    vec![[dk, dv].concat()]
}
