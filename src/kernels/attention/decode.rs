//! Attention of a few queries over a cache, split over its keys: each chunk's share, for [`super::combine`] to join.
//!
//! Ceilings: the keys and values that exist are read once, whatever the number of queries and the size of a group of
//! heads: 2 · kv_heads · S · head_dim elements, bound by bandwidth for long caches. Each pair of a query and a key
//! costs 2 · head_dim multiply-adds in f32; [`dispatch`] takes [`super::decode_coop`] where matrix units serve.

use super::cached::{self, Cached};
use super::decode_coop;
use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "attention/decode.wgsl",
    params { m: u32, capacity: u32, window: u32, reach: u32, chunks: u32, scale: f32 },
    binds { q: Read, cache: Read, start: Read, bias: Read, partial: Write, stats: Write },
}

const WG: usize = 256;

fn parts(a: &Cached) -> usize {
    if (a.head_dim / 4).is_multiple_of(8) {
        8
    } else {
        4
    }
}

fn split(a: &Cached) -> usize {
    let most = WG * 4 / a.head_dim;
    ((most + 1).next_power_of_two() / 2).min(a.chunk() / 4)
}

fn row_bytes(a: &Cached) -> usize {
    let parts = (a.chunk() * parts(a)).max(split(a) * a.head_dim);
    4 * (a.head_dim + parts + a.chunk() + 8)
}

fn rows(a: &Cached, caps: &Caps) -> usize {
    let fit = caps.max_workgroup_bytes.min(48 << 10) as usize / (row_bytes(a) + 16);
    let fit = (fit + 1).next_power_of_two() / 2;
    fit.clamp(1, 8)
}

/// Bytes of workgroup memory of the variant that [`dispatch`] takes.
pub fn workgroup_bytes(a: &Cached, elem: DType, caps: &Caps) -> u32 {
    if decode_coop::serves(a, elem, caps) {
        return decode_coop::workgroup_bytes(a);
    }
    (row_bytes(a) * rows(a, caps)) as u32
}

/// One dispatch: `partial` and `stats` of [`Cached::partial`] elements, f32, from q f32, the cache of `elem`, the
/// state `start` u32 [1] and T5's table `bias` f32 (without one: q once more). The variant does not depend on m.
pub fn dispatch(a: &Cached, elem: DType, binds: Binds, caps: &Caps) -> Dispatch {
    if decode_coop::serves(a, elem, caps) {
        let Binds {
            q,
            cache,
            start,
            bias,
            partial,
            stats,
        } = binds;
        let binds = decode_coop::Binds {
            q,
            cache,
            start,
            bias,
            partial,
            stats,
        };
        return decode_coop::dispatch(a, elem, binds, caps);
    }
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
            .set("WG", WG)
            .set("HEADS", a.heads)
            .set("KV_HEADS", a.kv_heads)
            .set("D", a.head_dim)
            .set("CHUNK", a.chunk())
            .set("PARTS", parts(a))
            .set("SPLIT", split(a))
            .set("ROWS", rows(a, caps))
            .set("CAUSAL", a.causal)
            .set("BIAS", a.reach.is_some()),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid((a.kv_heads * a.chunks()) as u64, caps),
        category: Category::Attention,
        cost: cost(a, elem),
    }
}

/// What either kernel does at least, the cache taken as full.
pub(super) fn cost(a: &Cached, elem: DType) -> Cost {
    let keys = if a.window_of() > 0 {
        a.window
    } else {
        a.capacity
    };
    let [partial, stats] = a.partial();
    let cache = 2 * a.kv_heads * keys * a.head_dim * elem.bytes();
    Cost {
        read_bytes: (cache + 4 * a.m * a.heads * a.head_dim) as u64,
        write_bytes: 4 * (partial + stats) as u64,
        macs: a.macs(keys),
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for elem in [DType::F32, DType::F16] {
        for (a, state, caps) in cached::examples() {
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
                dispatch: dispatch(&a, elem, binds, &caps),
                arrays,
            });
        }
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let a = Cached::of_case(
        case.variant(),
        [p.m, p.capacity, p.window, p.reach],
        p.scale,
    );
    chunked(&a, case, arrays)
}

/// `partial` and `stats`, plainly.
pub(super) fn chunked<R: Real>(a: &Cached, case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let (state, chunk) = (cached::state(case), a.chunk());
    let [mut partial, mut stats] = [4, 5].map(|i| vec![R::of(f64::NAN); case.arrays[i].len()]);
    for (c, i) in (0..a.chunks()).flat_map(|c| (0..a.m).map(move |i| (c, i))) {
        let from = (a.sees(state, 0).start / chunk + c) * chunk;
        let seen = a.sees(state, i);
        let keys = seen.start.max(from)..seen.end.min(from + chunk);
        if keys.is_empty() {
            continue;
        }
        for h in 0..a.heads {
            let at = (c * a.m + i) * a.heads + h;
            let (top, sum, o) = a.row(arrays, state, (i, h), keys.clone());
            stats[2 * at..][..2].copy_from_slice(&[top, sum]);
            partial[at * a.head_dim..][..a.head_dim].copy_from_slice(&o);
        }
    }
    vec![partial, stats]
}
