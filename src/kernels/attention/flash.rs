//! Attention of many queries over a cache, as prefill and T5's encoder need it: the scores of a tile stay in workgroup
//! memory. [`dispatch`] takes [`super::flash_coop`] where matrix units serve.
//!
//! Ceilings: 2 · head_dim multiply-adds for each query and each key that it sees, twice that many where tiles cross
//! the diagonal of short prompts. This kernel is bound by f32 arithmetic and by loads of keys from cache.

use super::cached::{self, Cached};
use super::flash_coop;
use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "attention/flash.wgsl",
    params { m: u32, capacity: u32, window: u32, reach: u32, scale: f32 },
    binds { q: Read, cache: Read, start: Read, bias: Read, o: Write },
}

const WG: usize = 256;
const BK: usize = 32;

fn tile(a: &Cached) -> usize {
    if a.head_dim > 128 { 8 } else { 16 }
}

/// Bytes of workgroup memory of the variant that [`dispatch`] takes.
pub fn workgroup_bytes(a: &Cached, elem: DType, caps: &Caps) -> u32 {
    if flash_coop::serves(a, elem, caps) {
        return flash_coop::workgroup_bytes(a);
    }
    (tile(a) * (a.head_dim + 2 * BK) * 4) as u32
}

/// What either kernel of prefill does at least, `start` taken as 0.
pub(super) fn cost(a: &Cached, elem: DType) -> Cost {
    let keys = if a.causal { a.m } else { a.capacity };
    let seen = match a.window_of() {
        _ if !a.causal => keys,
        0 => keys.div_ceil(2),
        window => window.min(keys.div_ceil(2)),
    };
    let rows = 4 * (a.m * a.heads * a.head_dim) as u64;
    Cost {
        read_bytes: rows + (2 * a.kv_heads * keys * a.head_dim * elem.bytes()) as u64,
        write_bytes: rows,
        macs: a.macs(seen),
    }
}

/// One dispatch: o f32 [m, heads * head_dim] from q f32, the cache of `elem`, the state `start` u32 [1] and T5's table
/// `bias` f32 (without one: q once more).
pub fn dispatch(a: &Cached, elem: DType, binds: Binds, caps: &Caps) -> Dispatch {
    if flash_coop::serves(a, elem, caps) {
        let Binds {
            q,
            cache,
            start,
            bias,
            o,
        } = binds;
        let binds = flash_coop::Binds {
            q,
            cache,
            start,
            bias,
            o,
        };
        return flash_coop::dispatch(a, elem, binds, caps);
    }
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
            .set("BQ", tile(a))
            .set("CAUSAL", a.causal)
            .set("BIAS", a.reach.is_some()),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid((a.m.div_ceil(tile(a)) * a.heads) as u64, caps),
        category: Category::Attention,
        cost: cost(a, elem),
    }
}

/// Cases of either kernel: those of few queries, and tiles that are whole, ragged, and beyond the first chunk.
pub(super) fn examples() -> Vec<(Cached, usize, Caps)> {
    let mut all = cached::examples();
    let (plain, _, caps) = all[1].clone();
    let (ring, _, _) = all[8].clone();
    let (t5, _, _) = all[12].clone();
    let of = |a: Cached, m, capacity| Cached { m, capacity, ..a };
    all.push((of(plain, 130, 131), 0, caps.clone()));
    all.push((
        of(plain, 65, 300),
        100,
        Caps {
            max_groups: 3,
            ..caps.clone()
        },
    ));
    all.push((
        Cached {
            window: 40,
            ..of(ring, 70, 120)
        },
        333,
        caps.clone(),
    ));
    all.push((of(t5, 81, 90), 81, caps.clone()));
    all.push((of(t5, 17, 20), 0, caps));
    all
}

/// The arrays of a case of either kernel.
pub(super) fn arrays(a: &Cached, state: usize) -> Vec<Array> {
    let mut arrays = a.inputs(state);
    arrays.push(Array::OutAs(DType::F32, a.m * a.heads * a.head_dim));
    arrays
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for elem in [DType::F32, DType::F16] {
        for (a, state, caps) in examples() {
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
                dispatch: dispatch(&a, elem, binds, &caps),
                arrays: arrays(&a, state),
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
    vec![whole(&a, cached::state(case), arrays)]
}

/// o, plainly.
pub(super) fn whole<R: Real>(a: &Cached, state: usize, arrays: &[Vec<R>]) -> Vec<R> {
    let mut o = Vec::new();
    for (i, h) in (0..a.m).flat_map(|i| (0..a.heads).map(move |h| (i, h))) {
        let keys = a.sees(state, i);
        let none = keys.is_empty();
        let (_, sum, row) = a.row(arrays, state, (i, h), keys);
        o.extend(row.iter().map(|&v| if none { v } else { v / sum }));
    }
    o
}
