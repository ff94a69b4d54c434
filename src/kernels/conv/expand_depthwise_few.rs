//! [`expand_depthwise`](super::expand_depthwise) of few images on matrix units, in f16: for latency.
//!
//! Bytes and operations as there, and neither bounds it: at batch 1 a workgroup for each 16 channels, with all its
//! weights in registers and x under its band in workgroup memory, waits for memory once. x is read from the cache
//! N / 16 times, so this is for few images only.

use super::expand_depthwise::{Expand, reference};
use crate::kernel;
use crate::shader::{Arg, Array, Caps, Case, Category, Cost, Dispatch, Variant, fold_grid, noise};
use crate::tensor::DType;

kernel! {
    "conv/expand_depthwise_few.wgsl",
    params { batch: u32 },
    binds { x: Read, w: Read, b: Read, taps: Read, d: Write, m: Write },
}

/// How a workgroup goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows of d's map of a workgroup.
    pub band: usize,
    /// Subgroups that share the depth.
    pub splits: usize,
}

/// Sixteens of the depth that a subgroup takes, at most: their weights stay in registers.
const MOST_STEPS: usize = 12;

impl Tile {
    /// Bands of a map, which is also the second dimension of `m`.
    pub fn parts(&self, e: &Expand) -> usize {
        e.out_map()[0].div_ceil(self.band)
    }

    /// Sixteens of pixels of x under a band.
    fn tiles(&self, e: &Expand) -> usize {
        ((2 * self.band + 1).min(e.map[0]) * e.map[1]).div_ceil(16)
    }

    fn subgroups(&self, e: &Expand) -> usize {
        self.tiles(e) * self.splits
    }

    fn groups(&self, e: &Expand) -> usize {
        e.batch * self.parts(e) * (e.n / 16)
    }
}

/// Bytes of workgroup memory that a workgroup takes.
pub fn workgroup_bytes(e: &Expand, tile: Tile) -> usize {
    let rows = 16 * tile.tiles(e);
    2 * rows * (e.k + 8 + 16) + 1024 * tile.subgroups(e)
}

/// The tile that suits the size on this adapter, or nothing where it has no matrix units for f16, or more images than
/// latency is the question for.
pub fn choose(e: &Expand, elem: DType, caps: &Caps) -> Option<Tile> {
    if !caps.matrix_units(elem) || !e.n.is_multiple_of(16) {
        return None;
    }
    let ways = (1..=e.out_map()[0])
        .rev()
        .flat_map(|band| [2, 1].map(|splits| Tile { band, splits }));
    let fits = |t: &Tile| {
        e.k.is_multiple_of(16 * t.splits)
            && e.k / 16 / t.splits <= MOST_STEPS
            && (2..=8).contains(&t.subgroups(e))
            && 32 * t.subgroups(e) <= caps.max_invocations as usize
            && t.groups(e) <= 4 * caps.parallel as usize
            && workgroup_bytes(e, *t) <= caps.max_workgroup_bytes as usize
    };
    ways.into_iter().find(fits)
}

/// One dispatch; x comes in `x_parts`.
pub fn dispatch(e: &Expand, x_parts: usize, tile: Tile, binds: Binds, caps: &Caps) -> Dispatch {
    let bytes = |n: usize| (n * DType::F16.bytes()) as u64;
    let pixels = e.batch * e.map[0] * e.map[1];
    let [oh, ow] = e.out_map();
    let out = e.batch * oh * ow * e.n;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F16)
            .set("K", e.k)
            .set("N", e.n)
            .set("IN_H", e.map[0])
            .set("IN_W", e.map[1])
            .set("BAND", tile.band)
            .set("SPLITS", tile.splits)
            .set("WG", 32 * tile.subgroups(e))
            .set("X_PARTS", x_parts),
        params: bytemuck::bytes_of(&Params {
            batch: e.batch as u32,
        })
        .to_vec(),
        args: binds.args(),
        grid: fold_grid(tile.groups(e) as u64, caps),
        category: Category::Depthwise,
        cost: Cost {
            read_bytes: bytes(x_parts * pixels * e.k + (e.k + 11) * e.n),
            write_bytes: bytes(out + e.batch * tile.parts(e) * e.n),
            macs: (pixels * e.k * e.n + 9 * out) as u64,
        },
    }
}

fn cases() -> Vec<Case> {
    let sizes = [
        // batch, map, k, n, band, splits, parts of x
        (1, [14, 14], 64, 32, 2, 1, 2),
        (2, [7, 7], 96, 32, 4, 2, 1),
        (1, [5, 7], 48, 16, 1, 1, 3),
        (1, [9, 6], 32, 48, 2, 2, 1),
    ];
    let case = |(batch, map, k, n, band, splits, parts)| {
        let e = Expand { batch, map, k, n };
        let tile = Tile { band, splits };
        // Few workgroups in a row, so that the grid is folded.
        let caps = Caps {
            max_groups: 3,
            ..Caps::default()
        };
        let binds = Binds {
            x: Arg(0),
            w: Arg(1),
            b: Arg(2),
            taps: Arg(3),
            d: Arg(4),
            m: Arg(5),
        };
        let scaled = |seed, n: usize, by: f32| {
            Array::Elem(noise(seed, n).into_iter().map(|v| v * by).collect())
        };
        let [oh, ow] = e.out_map();
        Case {
            name: format!("{batch}x{map:?}x{k}"),
            dispatch: dispatch(&e, parts, tile, binds, &caps),
            arrays: vec![
                scaled(1, parts * batch * map[0] * map[1] * k, 1.0 / parts as f32),
                scaled(2, k * n, 1.0 / (k as f32).sqrt()),
                scaled(3, n, 0.5),
                scaled(4, 10 * n, 0.4),
                Array::Out(batch * oh * ow * n),
                Array::Out(batch * tile.parts(&e) * n),
            ],
        }
    };
    sizes.into_iter().map(case).collect()
}
