//! Rotary position embedding of queries and keys, and the writing of keys and values into a cache.
//!
//! Ceilings: each element is read and written once: bound by bandwidth in prefill, by latency in decoding. Angles
//! come from a table that the host makes in f64, so that no shader takes the sine of a large number.

use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "attention/rotary.wgsl",
    params { m: u32, capacity: u32, positions: u32 },
    binds { qkv: Read, rotary: Read, start: Read, q: Write, cache: Write },
}

/// The sizes of one layer's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    pub m: usize,
    /// Heads of queries; 0 where qkv holds keys and values alone, as those of an encoder's output.
    pub heads: usize,
    pub kv_heads: usize,
    /// A multiple of 4.
    pub head_dim: usize,
    /// Slots of the cache: position p has slot p % capacity.
    pub capacity: usize,
}

impl Rows {
    fn row_heads(&self) -> usize {
        self.heads + 2 * self.kv_heads
    }
}

/// One dispatch over qkv f32 [m, (heads + 2 kv_heads) head_dim]: q f32 [m, heads * head_dim], and rows of the cache
/// of `elem` [2, kv_heads, capacity, head_dim]. `start` u32 [1] holds the position of row 0. With `positions`, the
/// table `rotary` f32 [positions, head_dim / 2, 2] of (cos, sin) turns pairs of neighbours, its last row all later
/// positions; without, nothing is turned and that binding is qkv once more. Without heads, q is not touched.
pub fn dispatch(
    rows: Rows,
    positions: Option<usize>,
    elem: DType,
    binds: Binds,
    caps: &Caps,
) -> Dispatch {
    let params = Params {
        m: rows.m as u32,
        capacity: rows.capacity as u32,
        positions: positions.unwrap_or(1) as u32,
    };
    let d = rows.head_dim;
    let (len, turned) = (rows.m * rows.row_heads() * d, rows.m * d);
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(elem)
            .set("HEADS", rows.heads)
            .set("KV_HEADS", rows.kv_heads)
            .set("D", d)
            .set("ROTATE", positions.is_some()),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid((len / 4).div_ceil(64) as u64, caps),
        category: Category::Elementwise,
        cost: Cost {
            read_bytes: 4 * (len + if positions.is_some() { turned } else { 0 }) as u64,
            write_bytes: (rows.m * d * (4 * rows.heads + 2 * elem.bytes() * rows.kv_heads)) as u64,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let binds = Binds {
        qkv: Arg(0),
        rotary: Arg(1),
        start: Arg(2),
        q: Arg(3),
        cache: Arg(4),
    };
    let mut cases = Vec::new();
    for elem in [DType::F32, DType::F16] {
        for (sizes, positions, start, max_groups) in [
            ([1, 4, 4, 16, 40], Some(40), 39, 65_535),
            ([9, 8, 2, 20, 23], Some(23), 11, 3),
            ([5, 6, 2, 80, 7], Some(12), 10, 65_535), // a ring, and positions beyond the table
            ([3, 4, 4, 16, 8], None, 2, 65_535),
            ([11, 0, 3, 12, 11], None, 0, 65_535),
        ] {
            let [m, heads, kv_heads, head_dim, capacity] = sizes;
            let rows = Rows {
                m,
                heads,
                kv_heads,
                head_dim,
                capacity,
            };
            let caps = Caps {
                max_groups,
                ..Caps::default()
            };
            let table = positions.map_or(vec![0.0; 4], |n: usize| noise(2, n * head_dim));
            cases.push(Case {
                name: format!("{sizes:?} at {start}"),
                dispatch: dispatch(rows, positions, elem, binds, &caps),
                arrays: vec![
                    Array::F32(noise(1, m * rows.row_heads() * head_dim)),
                    Array::F32(table),
                    Array::U32(vec![start]),
                    Array::OutAs(DType::F32, (m * heads * head_dim).max(4)),
                    Array::Out(2 * kv_heads * capacity * head_dim),
                ],
            });
        }
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let size = |name| case.variant().u32(name) as usize;
    let (heads, kv_heads, d) = (size("HEADS"), size("KV_HEADS"), size("D"));
    let (capacity, start) = (p.capacity as usize, case.whole(2)[0] as usize);
    let row_heads = heads + 2 * kv_heads;
    let mut q = vec![R::of(f64::NAN); case.arrays[3].len()];
    let mut cache = vec![R::of(f64::NAN); case.arrays[4].len()];
    for (i, head) in (0..p.m as usize).flat_map(|i| (0..row_heads).map(move |h| (i, h))) {
        let position = start + i;
        let turn = &arrays[1][position.min(p.positions as usize - 1) * d..];
        let from = &arrays[0][(i * row_heads + head) * d..][..d];
        for (j, pair) in from.chunks(2).enumerate() {
            let (x, y) = (pair[0], pair[1]);
            let (x, y) = if case.variant().bool("ROTATE") && head < heads + kv_heads {
                let (c, s) = (turn[2 * j], turn[2 * j + 1]);
                (x * c - y * s, x * s + y * c)
            } else {
                (x, y)
            };
            if head < heads {
                let at = (i * heads + head) * d + 2 * j;
                (q[at], q[at + 1]) = (x, y);
            } else {
                let at = ((head - heads) * capacity + position % capacity) * d + 2 * j;
                (cache[at], cache[at + 1]) = (x.stored(case.elem()), y.stored(case.elem()));
            }
        }
    }
    vec![q, cache]
}
