//! [`super::flash`] on matrix units.
//!
//! Ceilings: matrix units multiply 16 × 16 × 16 at a time; each block of scores and of products passes through
//! workgroup memory, which, with a barrier a block, is what bounds it.

use super::cached::{self, Cached};
use super::flash;
use crate::kernel;
use crate::shader::{Caps, Case, Category, CoopMatrix, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "attention/flash_coop.wgsl",
    params { m: u32, capacity: u32, window: u32, reach: u32, scale: f32 },
    binds { q: Read, cache: Read, start: Read, bias: Read, o: Write },
}

const WG: usize = 128;

fn keys(a: &Cached) -> usize {
    if a.head_dim > 128 { 32 } else { 64 }
}

/// Bytes of workgroup memory of the variant that [`dispatch`] takes.
pub fn workgroup_bytes(a: &Cached) -> u32 {
    let (bk, row) = (keys(a), a.head_dim + 8);
    let tile = (bk * row).max(WG / 2 * (bk + 8)) + bk * row;
    (2 * tile + 64 * WG) as u32
}

/// Whether this kernel takes such sizes on such an adapter.
pub fn serves(a: &Cached, elem: DType, caps: &Caps) -> bool {
    caps.matrix_units(elem)
        && a.head_dim.is_multiple_of(16)
        && workgroup_bytes(a) <= caps.max_workgroup_bytes
}

/// One dispatch, as [`flash::dispatch`], where it [`serves`].
pub fn dispatch(a: &Cached, elem: DType, binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        m: a.m as u32,
        capacity: a.capacity as u32,
        window: a.window_of() as u32,
        reach: a.reach.unwrap_or(0) as u32,
        scale: a.scale,
    };
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(elem)
            .set("WG", WG)
            .set("HEADS", a.heads)
            .set("KV_HEADS", a.kv_heads)
            .set("D", a.head_dim)
            .set("BK", keys(a))
            .set("CAUSAL", a.causal)
            .set("BIAS", a.reach.is_some())
            .set("KEEP", false),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid((a.m.div_ceil(WG / 2) * a.heads) as u64, caps),
        category: Category::Attention,
        cost: flash::cost(a, elem),
    }
}

fn cases() -> Vec<Case> {
    let square = CoopMatrix {
        m: 16,
        n: 16,
        k: 16,
    };
    let mut cases = Vec::new();
    for (a, state, caps) in flash::examples() {
        let caps = Caps {
            f16: true,
            subgroup_max: 32,
            coop: Some(square),
            max_workgroup_bytes: 48 << 10,
            ..caps
        };
        if !serves(&a, DType::F16, &caps) {
            continue;
        }
        let [q, cache, start, bias, o] = cached::args();
        let binds = Binds {
            q,
            cache,
            start,
            bias,
            o,
        };
        cases.push(Case {
            name: cached::name(&a, state),
            dispatch: dispatch(&a, DType::F16, binds, &caps),
            arrays: flash::arrays(&a, state),
        });
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let sizes = [p.m, p.capacity, p.window, p.reach];
    let mut a = Cached::of_case(case.variant(), sizes, p.scale);
    // Queries are scaled, then stored as f16.
    let scale = R::of(f64::from(p.scale));
    let mut arrays = arrays.to_vec();
    for q in &mut arrays[0] {
        *q = (*q * scale).stored(case.elem());
    }
    a.scale = 1.0;
    vec![flash::whole(&a, cached::state(case), &arrays)]
}
