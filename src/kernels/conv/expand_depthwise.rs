//! `h = relu(x w + b)`, `d = relu(depthwise3x3(h))` with stride 2, and the mean of `d` over its map: the first half
//! of EfficientViT's patch merging, without the four times wider map h in device memory.
//!
//! Bytes: x once (and from the cache once for every CHUNK channels), d once, w once for every image from the cache.
//! Operations: `K·N` multiply-adds a pixel of x and `9·N` a pixel of d; bands below the whole map repeat one row of
//! x in `2·BAND + 1`. With CHUNK = 32 and f16, a pixel of x is 16 multiply-adds a byte: bound by arithmetic in
//! scalar form, and on matrix units by the cache's bandwidth to x unless CHUNK is 64 or more.

use crate::kernel;
use crate::kernels::block_index;
use crate::shader::{
    Arg, Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid, noise,
};
use crate::tensor::DType;

kernel! {
    "conv/expand_depthwise.wgsl",
    params { batch: u32 },
    binds { x: Read, w: Read, b: Read, taps: Read, d: Write, m: Write },
}

/// What is computed: x [batch, H, W, k] with `map` [H, W] through `n` channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expand {
    pub batch: usize,
    pub map: [usize; 2],
    /// A multiple of 4.
    pub k: usize,
    /// A multiple of 16.
    pub n: usize,
}

impl Expand {
    /// The map of d.
    pub fn out_map(&self) -> [usize; 2] {
        self.map.map(|side| side.div_ceil(2))
    }

    /// Rows of x's map that the rows of d's map from `oy0` to before `oy1` are made from.
    fn rows_under(&self, oy0: usize, oy1: usize) -> usize {
        (2 * oy1).min(self.map[0]) - (2 * oy0).max(1) + 1
    }
}

/// How a workgroup goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Channels of a workgroup: 16, 32 or 64; n is a multiple of it.
    pub chunk: usize,
    /// Rows of d's map of a workgroup.
    pub band: usize,
    /// A multiple of `chunk / 4`.
    pub wg: usize,
    /// Matrix units instead of scalar multiply-adds; only in f16, with `k` a multiple of 16.
    pub coop: bool,
}

impl Tile {
    /// As many invocations as there is work for at once.
    fn new(e: &Expand, chunk: usize, band: usize, coop: bool, caps: &Caps) -> Self {
        let rows = (2 * band + 1).min(e.map[0]) * e.map[1];
        let most = (caps.max_invocations as usize).min(256);
        let wg = if coop {
            32 * rows.div_ceil(32) * chunk.div_ceil(64)
        } else {
            (rows.div_ceil(8) * (chunk / 4)).next_multiple_of(32)
        };
        Self {
            chunk,
            band,
            wg: wg.clamp(64, most),
            coop,
        }
    }

    /// Bands of a map, which is also the second dimension of `m`.
    pub fn parts(&self, e: &Expand) -> usize {
        e.out_map()[0].div_ceil(self.band)
    }

    fn groups(&self, e: &Expand) -> usize {
        e.batch * self.parts(e) * (e.n / self.chunk)
    }

    /// Whether every band has the 16 pixels of x that matrix units take at once.
    fn bands_fill_a_matrix(&self, e: &Expand) -> bool {
        let oh = e.out_map()[0];
        (0..oh).step_by(self.band).all(|oy| {
            let rows = e.rows_under(oy, (oy + self.band).min(oh));
            rows * e.map[1] >= 16
        })
    }
}

/// Bytes of workgroup memory that a workgroup takes.
pub fn workgroup_bytes(e: &Expand, elem: DType, tile: Tile) -> usize {
    let pixels = (2 * tile.band + 1).min(e.map[0]) * e.map[1];
    let h = (pixels * tile.chunk * elem.bytes()).next_multiple_of(16);
    let out = if tile.coop { tile.wg / 32 * 2048 } else { 0 };
    h + 16 * tile.wg + out
}

/// The tile that suits the size on this adapter, or nothing where not even one row of d's map and 16 channels
/// fit its workgroup memory.
pub fn choose(e: &Expand, elem: DType, caps: &Caps) -> Option<Tile> {
    let whole = e.out_map()[0];
    let bands = [whole, whole.div_ceil(2), whole.div_ceil(4), 1];
    let coop = caps.matrix_units(elem) && e.k.is_multiple_of(16);
    let coop = coop.then_some([64, 32].map(|chunk| (chunk, true)));
    let kinds = (coop.into_iter().flatten()).chain([32, 16].map(|chunk| (chunk, false)));
    let tiles: Vec<Tile> = kinds
        .flat_map(|(chunk, coop)| bands.map(|band| Tile::new(e, chunk, band, coop, caps)))
        .filter(|t| e.n.is_multiple_of(t.chunk) && t.wg <= caps.max_invocations as usize)
        .filter(|t| workgroup_bytes(e, elem, *t) <= caps.max_workgroup_bytes as usize)
        .filter(|t| !t.coop || t.bands_fill_a_matrix(e))
        .collect();
    let busy = (tiles.iter()).find(|t| t.groups(e) >= caps.parallel as usize);
    busy.or(tiles.last()).copied()
}

/// One dispatch.
pub fn dispatch(e: &Expand, elem: DType, tile: Tile, binds: Binds, caps: &Caps) -> Dispatch {
    let bytes = |n: usize| (n * elem.bytes()) as u64;
    let pixels = e.batch * e.map[0] * e.map[1];
    let [oh, ow] = e.out_map();
    let out = e.batch * oh * ow * e.n;
    let choice = if tile.coop { "coop" } else { "scalar" };
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(elem)
            .choose("rows_matmul", choice)
            .set("K", e.k)
            .set("N", e.n)
            .set("IN_H", e.map[0])
            .set("IN_W", e.map[1])
            .set("CHUNK", tile.chunk)
            .set("BAND", tile.band)
            .set("WG", tile.wg),
        params: bytemuck::bytes_of(&Params {
            batch: e.batch as u32,
        })
        .to_vec(),
        args: binds.args(),
        grid: fold_grid(tile.groups(e) as u64, caps),
        category: Category::Depthwise,
        cost: Cost {
            read_bytes: bytes(pixels * e.k + (e.k + 11) * e.n),
            write_bytes: bytes(out + e.batch * tile.parts(e) * e.n),
            macs: (pixels * e.k * e.n + 9 * out) as u64,
        },
    }
}

fn cases() -> Vec<Case> {
    let sizes = [
        // batch, map, k, n, chunk, band, invocations, matrix units
        (1, [14, 14], 64, 256, 32, 7, 128, false),
        (2, [7, 7], 128, 64, 32, 4, 256, false),
        (3, [5, 3], 20, 32, 16, 2, 64, false),
        (2, [1, 1], 16, 16, 16, 1, 64, false),
        (1, [2, 9], 64, 64, 64, 1, 256, false),
        (2, [9, 6], 32, 48, 16, 3, 128, false),
        (1, [14, 14], 192, 128, 64, 7, 224, true),
        (2, [7, 7], 144, 96, 32, 2, 128, true),
    ];
    let mut cases = Vec::new();
    for elem in [DType::F32, DType::F16] {
        for (batch, map, k, n, chunk, band, wg, coop) in sizes {
            if coop && elem != DType::F16 {
                continue;
            }
            let e = Expand { batch, map, k, n };
            let tile = Tile {
                chunk,
                band,
                wg,
                coop,
            };
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
            cases.push(Case {
                name: format!("{batch}x{map:?}x{k}"),
                dispatch: dispatch(&e, elem, tile, binds, &caps),
                arrays: vec![
                    scaled(1, batch * map[0] * map[1] * k, 1.0),
                    scaled(2, k * n, 1.0 / (k as f32).sqrt()),
                    scaled(3, n, 0.5),
                    scaled(4, 10 * n, 0.4),
                    Array::Out(batch * oh * ow * n),
                    Array::Out(batch * tile.parts(&e) * n),
                ],
            });
        }
    }
    cases
}

/// The reference of both kernels: that of few images takes its weights in blocks, and x in parts.
pub(super) fn reference<R: Real>(case: &Case, a: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let c = |name| case.variant().u32(name) as usize;
    let (k, n, ih, iw, band) = (c("K"), c("N"), c("IN_H"), c("IN_W"), c("BAND"));
    let (oh, ow) = (ih.div_ceil(2), iw.div_ceil(2));
    let parts = oh.div_ceil(band);
    let (w, b, taps) = (&a[1], &a[2], &a[3]);
    let few = case.dispatch.kernel.stem() != SPEC.stem();
    let weight = |j: usize, i: usize| match few {
        true => w[block_index(j, i, n)],
        false => w[j * n + i],
    };
    let len = p.batch as usize * ih * iw * k;
    let x: Vec<R> = match few {
        true => (0..len)
            .map(|i| {
                (a[0].iter().skip(i).step_by(len))
                    .copied()
                    .sum::<R>()
                    .stored(case.elem())
            })
            .collect(),
        false => a[0].clone(),
    };
    let mut d = Vec::new();
    let mut m = vec![R::zero(); p.batch as usize * parts * n];
    for image in 0..p.batch as usize {
        let h: Vec<R> = (0..ih * iw * n)
            .map(|i| {
                let row = image * ih * iw + i / n;
                let sum: R = (0..k).map(|j| x[row * k + j] * weight(j, i % n)).sum();
                (sum + b[i % n]).relu().stored(case.elem())
            })
            .collect();
        for (oy, ox) in (0..oh * ow).map(|i| (i / ow, i % ow)) {
            for i in 0..n {
                let mut sum = taps[9 * n + i];
                for tap in 0..9 {
                    let (iy, ix) = (2 * oy + tap / 3, 2 * ox + tap % 3);
                    if (1..=ih).contains(&iy) && (1..=iw).contains(&ix) {
                        sum += h[((iy - 1) * iw + ix - 1) * n + i] * taps[tap * n + i];
                    }
                }
                d.push(sum.relu().stored(case.elem()));
                m[(image * parts + oy / band) * n + i] += sum.relu();
            }
        }
    }
    let scale = R::of(1.0 / (oh * ow) as f64);
    let m = m.into_iter().map(|v| (v * scale).stored(case.elem()));
    vec![d, m.collect()]
}
