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

/// Invocations of a workgroup, twice its queries, and keys at a time.
type Tile = [usize; 2];

/// The fastest of those measured on an H200.
fn tile(a: &Cached) -> Tile {
    match a.head_dim {
        96 | 128 if a.m >= 1024 => [256, 32],
        65..=128 => [128, 64],
        _ => [128, 32],
    }
}

fn bytes(a: &Cached, [wg, bk]: Tile) -> u32 {
    let row = a.head_dim + 8;
    let tile = (bk * row).max(wg / 2 * (bk + 8)) + bk * row;
    (2 * tile + 64 * wg) as u32
}

/// Bytes of workgroup memory of the variant that [`dispatch`] takes.
pub fn workgroup_bytes(a: &Cached) -> u32 {
    bytes(a, tile(a))
}

/// Whether this kernel takes such sizes on such an adapter.
pub fn serves(a: &Cached, elem: DType, caps: &Caps) -> bool {
    caps.matrix_units(elem)
        && a.head_dim.is_multiple_of(16)
        && workgroup_bytes(a) <= caps.max_workgroup_bytes
}

/// One dispatch, as [`flash::dispatch`], where it [`serves`].
pub fn dispatch(a: &Cached, elem: DType, binds: Binds, caps: &Caps) -> Dispatch {
    tiled(a, tile(a), elem, binds, caps)
}

fn tiled(a: &Cached, [wg, bk]: Tile, elem: DType, binds: Binds, caps: &Caps) -> Dispatch {
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
            .set("WG", wg)
            .set("HEADS", a.heads)
            .set("KV_HEADS", a.kv_heads)
            .set("D", a.head_dim)
            .set("BK", bk)
            .set("CAUSAL", a.causal)
            .set("BIAS", a.reach.is_some())
            .set("KEEP", false),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid((a.m.div_ceil(wg / 2) * a.heads) as u64, caps),
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
        // The tile of long prompts too: whole, and where its queries come in two parts.
        let tiles = match (a.m, a.head_dim) {
            (65, _) | (_, 64 | 128) => vec![tile(&a), [256, 32]],
            _ => vec![tile(&a)],
        };
        for tile in tiles {
            cases.push(Case {
                name: cached::name(&a, state),
                dispatch: tiled(&a, tile, DType::F16, binds, &caps),
                arrays: flash::arrays(&a, state),
            });
        }
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let sizes = [p.m, p.capacity, p.window, p.reach];
    let a = Cached::of_case(case.variant(), sizes, p.scale);
    let (a, arrays) = a.with_stored_queries(arrays, case.elem());
    vec![flash::whole(&a, cached::state(case), &arrays)]
}
