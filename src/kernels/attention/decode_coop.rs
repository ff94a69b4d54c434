//! [`super::decode`] on matrix units, whose 16 rows make up to 16 queries cost what one costs.
//!
//! Ceilings: those of [`super::decode`] without its arithmetic: the keys and values that exist are read once.

use super::cached::{self, Cached};
use super::decode;
use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, CoopMatrix, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "attention/decode_coop.wgsl",
    params { m: u32, capacity: u32, window: u32, reach: u32, chunks: u32, scale: f32 },
    binds { q: Read, cache: Read, start: Read, bias: Read, partial: Write, stats: Write },
}

/// Bytes of workgroup memory of the variant that [`dispatch`] takes.
pub fn workgroup_bytes(a: &Cached) -> u32 {
    let (chunk, row) = (a.chunk(), a.head_dim + 8);
    (2 * ((chunk + 16) * row + 16 * (chunk + 8)) + 4096) as u32
}

/// Whether this kernel takes such sizes on such an adapter: for every number of queries or for none.
pub fn serves(a: &Cached, elem: DType, caps: &Caps) -> bool {
    caps.matrix_units(elem)
        && a.head_dim.is_multiple_of(16)
        && workgroup_bytes(a) <= caps.max_workgroup_bytes
}

/// One dispatch, as [`decode::dispatch`], where it [`serves`].
pub fn dispatch(a: &Cached, elem: DType, binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        m: a.m as u32,
        capacity: a.capacity as u32,
        window: a.window_of() as u32,
        reach: a.reach.unwrap_or(0) as u32,
        chunks: a.chunks() as u32,
        scale: a.scale,
    };
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(elem)
            .set("HEADS", a.heads)
            .set("KV_HEADS", a.kv_heads)
            .set("D", a.head_dim)
            .set("CHUNK", a.chunk())
            .set("CAUSAL", a.causal)
            .set("BIAS", a.reach.is_some()),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid((a.kv_heads * a.chunks()) as u64, caps),
        category: Category::Attention,
        cost: decode::cost(a, elem),
    }
}

fn cases() -> Vec<Case> {
    let square = CoopMatrix {
        m: 16,
        n: 16,
        k: 16,
    };
    let mut cases = Vec::new();
    for (a, state, caps) in cached::examples() {
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
        let [q, cache, start, bias, partial, stats] = cached::args();
        let binds = Binds {
            q,
            cache,
            start,
            bias,
            partial,
            stats,
        };
        let mut arrays = a.inputs(state);
        arrays.extend(a.partial().map(|n| Array::OutAs(DType::F32, n)));
        cases.push(Case {
            name: cached::name(&a, state),
            dispatch: dispatch(&a, DType::F16, binds, &caps),
            arrays,
        });
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let sizes = [p.m, p.capacity, p.window, p.reach];
    let a = Cached::of_case(case.variant(), sizes, p.scale);
    let (a, arrays) = a.with_stored_queries(arrays, case.elem());
    decode::chunked(&a, case, &arrays)
}
