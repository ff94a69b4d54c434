//! `y = t + relu(t W1 + b1) W2 + b2` with `t` a 3×3 depthwise convolution of x: EfficientViT's depthwise and
//! feed-forward layers with both their residuals, in one dispatch.
//!
//! Bytes: x and y once each (x's neighbours come from the cache), the weights once for every ROWS tokens, also
//! from the cache. Operations: `2·C·HIDDEN + 9·C` multiply-adds a token; with HIDDEN = 2C and f16 that is C
//! multiply-adds a byte of x and y, and `ROWS / 2` a byte of weights. So it is bound by arithmetic; on matrix units
//! [`depthwise_ffn_matrix`](super::depthwise_ffn_matrix) and [`depthwise_ffn_few`](super::depthwise_ffn_few) do it.

use crate::kernel;
use crate::kernels::block_index;
use crate::shader::{
    Arg, Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid, noise,
};
use crate::tensor::DType;

kernel! {
    "ffn/depthwise_ffn.wgsl",
    params { m: u32 },
    binds { x: Read, taps: Read, w: Read, bias: Read, y: Write },
}

/// What is computed: `tokens` of `c` channels, in maps of `map` [H, W], through `hidden` channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ffn {
    /// Batch × H × W.
    pub tokens: usize,
    pub map: [usize; 2],
    /// A multiple of 16.
    pub c: usize,
    /// A multiple of 16.
    pub hidden: usize,
    /// Parts that x comes in: it is their sum.
    pub parts: usize,
}

/// How a workgroup goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Tokens of a workgroup: a multiple of 4.
    pub rows: usize,
    pub wg: usize,
    /// Workgroups that share the hidden channels of the same tokens; y comes in as many parts.
    pub slices: usize,
}

/// Bytes of workgroup memory that a workgroup takes.
pub fn workgroup_bytes(f: &Ffn, elem: DType, tile: Tile) -> usize {
    let tokens = tile.rows * (f.c + f.hidden / tile.slices + 16) * elem.bytes();
    let span = match f.parts {
        1 => 8 * elem.bytes(),
        _ => (tile.rows + 2 * (f.map[1] + 1)) * f.c * elem.bytes(),
    };
    tokens + span
}

/// The tile that suits the size on this adapter, or nothing where not even four tokens fit its workgroup memory.
/// With few tokens, the hidden channels are shared among several workgroups.
pub fn choose(f: &Ffn, elem: DType, caps: &Caps) -> Option<Tile> {
    let wg = (caps.max_invocations as usize).min(256);
    let fits = |t: &Tile| workgroup_bytes(f, elem, *t) <= caps.max_workgroup_bytes as usize;
    let busy = caps.parallel as usize;
    let enough = |rows: usize| 2 * f.tokens.div_ceil(rows) >= busy;
    let tile = |rows, slices| Tile { rows, wg, slices };
    let whole: Vec<Tile> = ([32, 16, 8, 4].map(|r| tile(r, 1)).into_iter())
        .filter(fits)
        .collect();
    if f.parts == 1
        && let Some(t) = whole.iter().find(|t| enough(t.rows))
    {
        return Some(*t);
    }
    // A slice of 32 to 96 hidden channels: as many as make the adapter busy, yet few parts to sum.
    let rows = 16;
    let most = (busy / f.tokens.div_ceil(rows)).clamp(1, MOST_PARTS);
    let slices = (1..=most)
        .rev()
        .find(|n| f.hidden.is_multiple_of(4 * n) && f.hidden / n >= 32);
    let few = slices.map(|n| tile(rows, n)).filter(fits);
    few.or(whole.last().copied().filter(|_| f.parts == 1))
}

/// The most parts that a result comes in.
pub const MOST_PARTS: usize = 12;

/// One dispatch.
pub fn dispatch(f: &Ffn, elem: DType, tile: Tile, binds: Binds, caps: &Caps) -> Dispatch {
    let bytes = |n: usize| (n * elem.bytes()) as u64;
    let weights = 2 * f.c * f.hidden + 11 * f.c + f.hidden;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(elem)
            .choose("tile_matmul", "scalar")
            .set("CHANNELS", f.c)
            .set("HIDDEN", f.hidden)
            .set("IN_H", f.map[0])
            .set("IN_W", f.map[1])
            .set("ROWS", tile.rows)
            .set("WG", tile.wg)
            .set("SLICES", tile.slices)
            .set("PARTS", f.parts),
        params: bytemuck::bytes_of(&Params { m: f.tokens as u32 }).to_vec(),
        args: binds.args(),
        grid: fold_grid((f.tokens.div_ceil(tile.rows) * tile.slices) as u64, caps),
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
        // batch, map, channels, hidden, rows, invocations, slices, parts of x
        (2, [14, 14], 64, 128, 16, 256, 1, 1),
        (3, [5, 7], 32, 64, 4, 64, 2, 3),
        (1, [1, 1], 16, 32, 8, 256, 1, 1),
        (2, [3, 1], 48, 16, 16, 128, 2, 2),
        (1, [7, 7], 128, 256, 8, 256, 4, 1),
        (5, [4, 4], 192, 384, 4, 256, 1, 1),
    ];
    let mut cases = Vec::new();
    for elem in [DType::F32, DType::F16] {
        for (batch, map, c, hidden, rows, wg, slices, parts) in sizes {
            let f = Ffn {
                tokens: batch * map[0] * map[1],
                map,
                c,
                hidden,
                parts,
            };
            let tile = Tile { rows, wg, slices };
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
            cases.push(Case {
                name: format!("{batch}x{map:?}x{c}"),
                dispatch: dispatch(&f, elem, tile, binds, &caps),
                arrays: vec![
                    scaled(1, parts * f.tokens * c, 1.0 / parts as f32),
                    scaled(2, 10 * c, 0.4),
                    scaled(3, 2 * c * hidden, by),
                    scaled(4, hidden + c, 0.5),
                    Array::Out(slices * f.tokens * c),
                ],
            });
        }
    }
    cases
}

/// The reference of all three kernels; those on matrix units take their weights in blocks.
pub(super) fn reference<R: Real>(case: &Case, a: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let k = |name| case.variant().u32(name) as usize;
    let (c, hidden, h, w) = (k("CHANNELS"), k("HIDDEN"), k("IN_H"), k("IN_W"));
    let (m, slices) = (p.m as usize, k("SLICES").max(1));
    let parts: Vec<&[R]> = a[0].chunks(m * c).collect();
    let whole = |i: usize| -> R { parts.iter().map(|part| part[i]).sum() };
    let x: Vec<R> = match parts.as_slice() {
        [one] => one.to_vec(),
        _ => (0..m * c).map(|i| whole(i).stored(case.elem())).collect(),
    };
    let taps = &a[1];
    let (w1, w2) = a[2].split_at(c * hidden);
    let blocks = case.dispatch.kernel.stem() != SPEC.stem();
    let at = |k: usize, n: usize, columns: usize| match blocks {
        true => block_index(k, n, columns),
        false => k * columns + n,
    };
    let (b1, b2) = a[3].split_at(hidden);
    let mut y = vec![R::zero(); slices * m * c];
    for row in 0..m {
        let (oy, ox) = (row / w % h, row % w);
        let t: Vec<R> = (0..c)
            .map(|i| {
                let mut sum = taps[9 * c + i];
                for (ky, kx) in (0..9).map(|tap| (tap / 3, tap % 3)) {
                    if (1..=h).contains(&(oy + ky)) && (1..=w).contains(&(ox + kx)) {
                        let at = row + ky * w + kx - w - 1;
                        sum += x[at * c + i] * taps[(ky * 3 + kx) * c + i];
                    }
                }
                sum.stored(case.elem())
            })
            .collect();
        let inner: Vec<R> = (0..hidden)
            .map(|j| {
                let sum: R = (0..c).map(|i| t[i] * w1[at(i, j, hidden)]).sum();
                (sum + b1[j]).relu().stored(case.elem())
            })
            .collect();
        let share = hidden / slices;
        for (slice, i) in (0..slices * c).map(|n| (n / c, n % c)) {
            let mine = slice * share..(slice + 1) * share;
            let mut sum: R = mine.map(|j| inner[j] * w2[at(j, i, c)]).sum();
            if slice == 0 {
                sum = t[i] + (sum + b2[i]);
            }
            y[(slice * m + row) * c + i] = sum.stored(case.elem());
        }
    }
    vec![y]
}
