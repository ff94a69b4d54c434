//! [`depthwise_ffn`](super::depthwise_ffn) of few tokens on matrix units, in f16.
//!
//! Bytes and operations as there; neither bounds it. Few tokens are few workgroups, one to a multiprocessor, and the
//! time is the chain from launch to store: so a workgroup asks for all its weights at once, before it needs them, and
//! keeps them in registers. Slices of the hidden channels are as wide as registers allow, since whoever reads y reads
//! it once for each slice.

use super::depthwise_ffn::{Ffn, MOST_PARTS, reference};
use crate::kernel;
use crate::shader::{Arg, Array, Caps, Case, Category, Cost, Dispatch, Variant, fold_grid, noise};
use crate::tensor::DType;

kernel! {
    "ffn/depthwise_ffn_few.wgsl",
    params { m: u32 },
    binds { x: Read, taps: Read, w: Read, bias: Read, y: Write },
}

/// How a workgroup goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Workgroups that share the hidden channels of the same tokens; y comes in as many parts.
    pub slices: usize,
    /// Subgroups that share the depth of the first product.
    pub splits: usize,
}

impl Tile {
    /// Sixteens of hidden channels of a slice.
    fn columns(&self, f: &Ffn) -> usize {
        f.hidden / self.slices / 16
    }

    fn subgroups(&self, f: &Ffn) -> usize {
        self.columns(f) * self.splits
    }

    /// Matrices of weights that a subgroup holds.
    fn held(&self, f: &Ffn) -> usize {
        let sixteens = f.c / 16;
        sixteens / self.splits + sixteens.div_ceil(self.subgroups(f)) * self.columns(f)
    }
}

/// Matrices of weights that a subgroup holds, at most: four registers of an invocation each. Fewer are faster, and
/// need more slices, up to a point.
const HELD: [usize; 3] = [16, 24, 36];

/// Slices that few tokens are worth at least: fewer leave most of the adapter idle.
const LEAST_SLICES: usize = 4;

/// Bytes of workgroup memory that a workgroup takes.
pub fn workgroup_bytes(f: &Ffn, tile: Tile) -> usize {
    let around = match 16 % (f.map[0] * f.map[1]) {
        0 => 0,
        _ => f.map[1] + 1,
    };
    let halves = [
        16 * (f.c + 8),
        16 * (f.hidden / tile.slices + 8),
        (16 + 2 * around) * f.c,
        10 * f.c,
    ];
    let halves: usize = halves.iter().map(|n| (2 * n).next_multiple_of(16)).sum();
    halves + 1024 * tile.subgroups(f)
}

/// The tile that suits the size on this adapter, or nothing where it has no matrix units for f16, too little
/// workgroup memory, or so many tokens that its multiprocessors are busy without slices.
pub fn choose(f: &Ffn, elem: DType, caps: &Caps) -> Option<Tile> {
    let sixteens = [f.c, f.hidden].iter().all(|n| n.is_multiple_of(16));
    let tiles = f.tokens.div_ceil(16);
    if !caps.matrix_units(elem) || !sixteens || 2 * tiles >= caps.parallel as usize {
        return None;
    }
    let least = (caps.parallel as usize / tiles).clamp(1, LEAST_SLICES);
    let ways = HELD.into_iter().flat_map(|held| {
        (least..=MOST_PARTS).flat_map(move |slices| {
            [8, 6, 4, 3, 2, 1].map(|splits| (held, Tile { slices, splits }))
        })
    });
    let fits = |(held, t): &(usize, Tile)| {
        f.hidden.is_multiple_of(16 * t.slices)
            && (f.c / 16).is_multiple_of(t.splits)
            && (4..=8).contains(&t.subgroups(f))
            && 32 * t.subgroups(f) <= caps.max_invocations as usize
            && t.held(f) <= *held
            && workgroup_bytes(f, *t) <= caps.max_workgroup_bytes as usize
    };
    ways.into_iter().find(fits).map(|(_, tile)| tile)
}

/// One dispatch.
pub fn dispatch(f: &Ffn, tile: Tile, binds: Binds, caps: &Caps) -> Dispatch {
    let bytes = |n: usize| (n * DType::F16.bytes()) as u64;
    let weights = 2 * f.c * f.hidden + 11 * f.c + f.hidden;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F16)
            .set("CHANNELS", f.c)
            .set("HIDDEN", f.hidden)
            .set("IN_H", f.map[0])
            .set("IN_W", f.map[1])
            .set("WG", 32 * tile.subgroups(f))
            .set("SLICES", tile.slices)
            .set("SPLITS", tile.splits)
            .set("PARTS", f.parts),
        params: bytemuck::bytes_of(&Params { m: f.tokens as u32 }).to_vec(),
        args: binds.args(),
        grid: fold_grid((f.tokens.div_ceil(16) * tile.slices) as u64, caps),
        category: Category::Matmul,
        cost: Cost {
            read_bytes: bytes(f.parts * f.tokens * f.c + weights),
            write_bytes: bytes(tile.slices * f.tokens * f.c),
            macs: f.tokens as u64 * (2 * f.c * f.hidden + 9 * f.c) as u64,
        },
    }
}

fn cases() -> Vec<Case> {
    let sizes = [
        // batch, map, channels, hidden, slices, splits, parts of x
        (1, [14, 14], 64, 128, 2, 2, 4),
        (2, [7, 7], 48, 96, 1, 1, 1),
        (1, [7, 7], 128, 256, 4, 2, 2),
        (3, [4, 4], 192, 384, 12, 4, 3),
        (1, [5, 3], 16, 64, 1, 1, 2),
    ];
    let case =
        |(batch, map, c, hidden, slices, splits, parts): (usize, [usize; 2], _, _, _, _, _)| {
            let f = Ffn {
                tokens: batch * map[0] * map[1],
                map,
                c,
                hidden,
                parts,
            };
            let tile = Tile { slices, splits };
            // Few workgroups in a row, so that the grid is folded.
            let caps = Caps {
                max_groups: 4,
                ..Caps::default()
            };
            let binds = Binds {
                x: Arg(0),
                taps: Arg(1),
                w: Arg(2),
                bias: Arg(3),
                y: Arg(4),
            };
            let scaled = |seed, n: usize, by: f32| {
                Array::Elem(noise(seed, n).into_iter().map(|v| v * by).collect())
            };
            let by = 1.0 / (c as f32).sqrt();
            Case {
                name: format!("{batch}x{map:?}x{c}"),
                dispatch: dispatch(&f, tile, binds, &caps),
                arrays: vec![
                    scaled(1, parts * f.tokens * c, 1.0 / parts as f32),
                    scaled(2, 10 * c, 0.4),
                    scaled(3, 2 * c * hidden, by),
                    scaled(4, hidden + c, 0.5),
                    Array::Out(slices * f.tokens * c),
                ],
            }
        };
    sizes.into_iter().map(case).collect()
}
