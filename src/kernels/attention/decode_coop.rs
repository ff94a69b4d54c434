//! [`super::decode`] on matrix units, whose 16 rows make up to 16 queries cost what one costs.
//!
//! Ceilings: those of [`super::decode`] without its arithmetic: the keys and values that exist are read once. Measured on
//! an H100, launch included, 32 heads of 128, a cold cache: 6.5 µs at S 200 and 27.7 at 2,000, for one query as for nine
//! (9.4 and 30 with a workgroup for each chunk of 2,592 positions). The loads alone are two thirds of that.

use super::cached::{self, Cached};
use super::decode;
use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, CoopMatrix, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "attention/decode_coop.wgsl",
    params { m: u32, capacity: u32, window: u32, reach: u32, chunks: u32, slots: u32, scale: f32 },
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

/// Workgroups of a head of the cache: no more than keep the adapter busy, as most of a long cache's chunks are empty at
/// first, and a workgroup that finds nothing takes its time, too.
fn slots(a: &Cached, caps: &Caps) -> usize {
    let enough = (2 * caps.parallel as usize).div_ceil(a.kv_heads);
    a.chunks().min(enough.max(1))
}

/// One dispatch, as [`decode::dispatch`], where it [`serves`].
pub fn dispatch(a: &Cached, elem: DType, binds: Binds, caps: &Caps) -> Dispatch {
    let slots = slots(a, caps);
    let params = Params {
        m: a.m as u32,
        capacity: a.capacity as u32,
        window: a.window_of() as u32,
        reach: a.reach.unwrap_or(0) as u32,
        chunks: a.chunks() as u32,
        slots: slots as u32,
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
        grid: fold_grid((a.kv_heads * slots) as u64, caps),
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
    for (i, (a, state, caps)) in cached::examples().into_iter().enumerate() {
        let caps = Caps {
            // Each chunk by a workgroup of its own, or all by one.
            parallel: [16, 0][i % 2],
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
