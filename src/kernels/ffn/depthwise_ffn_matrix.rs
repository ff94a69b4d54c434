//! [`depthwise_ffn`](super::depthwise_ffn) of many tokens on matrix units, in f16.
//!
//! Bytes as there, but the weights once for every 32 to 64 tokens: `ROWS / 2` multiply-adds a byte of weights from
//! the cache, 64 FLOP a byte with 64 tokens. At 5 TB/s from the cache that is a ceiling of 320 TFLOP/s (160 with
//! 32 tokens), above what cooperative matrices have reached: bound by the matrix units.

use super::depthwise_ffn::{Ffn, reference};
use crate::kernel;
use crate::shader::{Arg, Array, Caps, Case, Category, Cost, Dispatch, Variant, fold_grid, noise};
use crate::tensor::DType;

kernel! {
    "ffn/depthwise_ffn_matrix.wgsl",
    params { m: u32 },
    binds { x: Read, taps: Read, w: Read, bias: Read, y: Write },
}

/// How a workgroup goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Tokens of a workgroup, a multiple of 16.
    pub rows: usize,
    /// Of 32 invocations; both widths are multiples of 16 times as many.
    pub subgroups: usize,
}

/// Bytes of workgroup memory that a workgroup takes.
pub fn workgroup_bytes(f: &Ffn, tile: Tile) -> usize {
    let tokens = tile.rows * (f.c + 8 + 16 * tile.subgroups + 8) * DType::F16.bytes();
    tokens + tile.subgroups * 1024
}

/// The tile that suits the size on this adapter, or nothing where it has no matrix units for f16, too little
/// workgroup memory, or too few tokens to be kept busy.
pub fn choose(f: &Ffn, elem: DType, caps: &Caps) -> Option<Tile> {
    let sixteens = [f.c, f.hidden].iter().all(|n| n.is_multiple_of(16));
    let able = caps.matrix_units(elem);
    if !able || !sixteens || f.parts != 1 {
        return None;
    }
    // Sixteen tokens to a workgroup are half as many for the same weights: only where more would leave it idle.
    let rows = [(64, 1), (48, 1), (32, 1), (32, 2), (16, 2)];
    let ways = rows.into_iter().flat_map(|(rows, worth)| {
        [8, 7, 6, 5, 4, 9, 10, 3, 2, 1].map(|subgroups| (Tile { rows, subgroups }, worth))
    });
    let fits = |(t, worth): &(Tile, usize)| {
        let wide = 16 * t.subgroups;
        // Eight matrices of results for an invocation: 64 registers, which leaves room for four workgroups' worth.
        let blocks = f.c / wide * (t.rows / 16);
        f.c.is_multiple_of(wide)
            && f.hidden.is_multiple_of(wide)
            && blocks <= 8
            && 2 * wide <= caps.max_invocations as usize
            && workgroup_bytes(f, *t) <= caps.max_workgroup_bytes as usize
            && worth * f.tokens.div_ceil(t.rows) >= caps.parallel as usize
    };
    ways.into_iter().find(fits).map(|(tile, _)| tile)
}

/// One dispatch. `f.parts` is 1.
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
            .set("ROWS", tile.rows)
            .set("WG", 32 * tile.subgroups),
        params: bytemuck::bytes_of(&Params { m: f.tokens as u32 }).to_vec(),
        args: binds.args(),
        grid: fold_grid(f.tokens.div_ceil(tile.rows) as u64, caps),
        category: Category::Matmul,
        cost: Cost {
            read_bytes: bytes(f.tokens * f.c + weights),
            write_bytes: bytes(f.tokens * f.c),
            macs: f.tokens as u64 * (2 * f.c * f.hidden + 9 * f.c) as u64,
        },
    }
}

fn cases() -> Vec<Case> {
    let sizes = [
        // batch, map, channels, hidden, rows, subgroups
        (1, [14, 14], 64, 128, 64, 4),
        (3, [5, 7], 96, 192, 48, 3),
        (1, [7, 7], 128, 256, 32, 8),
        (1, [1, 3], 48, 48, 16, 1),
        (2, [4, 4], 192, 384, 32, 6),
    ];
    let one =
        |(batch, map, c, hidden, rows, subgroups): (usize, [usize; 2], usize, usize, _, _)| {
            let f = Ffn {
                tokens: batch * map[0] * map[1],
                map,
                c,
                hidden,
                parts: 1,
            };
            // Few workgroups in a row, so that the grid is folded.
            let caps = Caps {
                max_groups: 2,
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
            Case {
                name: format!("{batch}x{map:?}x{c}"),
                dispatch: dispatch(&f, Tile { rows, subgroups }, binds, &caps),
                arrays: vec![
                    scaled(1, f.tokens * c, 1.0),
                    scaled(2, 10 * c, 0.4),
                    scaled(3, 2 * c * hidden, 1.0 / (c as f32).sqrt()),
                    scaled(4, hidden + c, 0.5),
                    Array::Out(f.tokens * c),
                ],
            }
        };
    sizes.map(one).into()
}
