//! `y = relu(conv(relu(conv(x, w1) + b1), w2) + b2)`, both 3×3 with stride 2: the first two layers of
//! EfficientViT's patch embedding without their 112×112 map in device memory.
//!
//! Bytes: 6·h·w of the image and `out_h·out_w·OUT` of y; at 224 and f16, 0.6 MB an image with 48 channels.
//! Operations: `27·MID` multiply-adds an element of mid and `9·MID·OUT` a pixel of y (41 M an image with 24 and 48
//! channels), and 10 to 20 % more of the first for the pixels of mid that two tiles share. That is 68 multiply-adds
//! a byte: bound by arithmetic, and by reads of workgroup memory, of which there is one for 3 to 8 multiply-adds.

use crate::kernel;
use crate::shader::{
    Arg, Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid, noise,
};
use crate::tensor::DType;

kernel! {
    "conv/stem.wgsl",
    params { batch: u32, h: u32, w: u32 },
    binds { x: Read, w1: Read, b1: Read, w2: Read, b2: Read, y: Write },
}

/// What is computed: from images [batch, 3, h, w] to [batch, out_h, out_w, out] through `mid` channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stem {
    pub batch: usize,
    pub h: usize,
    pub w: usize,
    /// A multiple of 8.
    pub mid: usize,
    /// A multiple of 8.
    pub out: usize,
}

impl Stem {
    /// [out_h, out_w].
    pub fn out_map(&self) -> [usize; 2] {
        [self.h.div_ceil(4), self.w.div_ceil(4)]
    }
}

/// How a workgroup goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Pixels of y of a workgroup; `w` is a multiple of `pixels`.
    pub h: usize,
    pub w: usize,
    /// Neighbours in a row, and fours of channels, that an invocation computes together.
    pub pixels: usize,
    pub quads: usize,
    pub wg: usize,
}

impl Tile {
    fn new(s: &Stem, [h, w]: [usize; 2], pixels: usize, quads: usize, caps: &Caps) -> Self {
        let tasks = h * w / pixels * (s.out / (4 * quads));
        let wg = tasks.next_multiple_of(32).clamp(32, 256);
        Self {
            h,
            w,
            pixels,
            quads,
            wg: wg.min(caps.max_invocations as usize),
        }
    }

    fn groups(&self, s: &Stem) -> usize {
        let [h, w] = s.out_map();
        s.batch * h.div_ceil(self.h) * w.div_ceil(self.w)
    }
}

/// Bytes of workgroup memory that a workgroup takes.
pub fn workgroup_bytes(s: &Stem, elem: DType, tile: Tile) -> usize {
    let (mid_h, mid_w) = (2 * tile.h + 1, 2 * tile.w + 1);
    let image = 3 * (2 * mid_h + 1) * (2 * mid_w + 1) + 2 * tile.pixels;
    let padded = |elements: usize| (elements * elem.bytes()).next_multiple_of(16);
    padded(image) + padded(mid_h * mid_w * s.mid)
}

/// The tile that suits the size on this adapter, or nothing where not even one of 2 × 2 pixels fits its
/// workgroup memory.
pub fn choose(s: &Stem, elem: DType, caps: &Caps) -> Option<Tile> {
    let fits = |t: &Tile| workgroup_bytes(s, elem, *t) <= caps.max_workgroup_bytes as usize;
    let many = ([[8, 8], [4, 8], [4, 4]].map(|hw| Tile::new(s, hw, 4, 2, caps))).into_iter();
    let few = ([[4, 4], [2, 4], [2, 2]].map(|hw| Tile::new(s, hw, 2, 1, caps))).into_iter();
    let busy = |t: &Tile| t.groups(s) * t.wg >= 256 * caps.parallel as usize;
    many.filter(busy).find(fits).or(few.filter(fits).next())
}

/// One dispatch.
pub fn dispatch(s: &Stem, elem: DType, tile: Tile, binds: Binds, caps: &Caps) -> Dispatch {
    let bytes = |n: usize| (n * elem.bytes()) as u64;
    let [out_h, out_w] = s.out_map();
    let pixels = s.batch * out_h * out_w;
    let mid = s.batch * s.h.div_ceil(2) * s.w.div_ceil(2) * s.mid;
    let weights = 28 * s.mid + (9 * s.mid + 1) * s.out;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(elem)
            .set("MID", s.mid)
            .set("OUT", s.out)
            .set("TILE_H", tile.h)
            .set("TILE_W", tile.w)
            .set("PIXELS", tile.pixels)
            .set("QUADS", tile.quads)
            .set("WG", tile.wg),
        params: bytemuck::bytes_of(&Params {
            batch: s.batch as u32,
            h: s.h as u32,
            w: s.w as u32,
        })
        .to_vec(),
        args: binds.args(),
        grid: fold_grid(tile.groups(s) as u64, caps),
        category: Category::Convolution,
        cost: Cost {
            read_bytes: bytes(3 * s.batch * s.h * s.w + weights),
            write_bytes: bytes(pixels * s.out),
            macs: (27 * mid + 9 * s.mid * s.out * pixels) as u64,
        },
    }
}

fn cases() -> Vec<Case> {
    let sizes = [
        // batch, h, w, mid, out, tile h, tile w, pixels, quads
        (1, 32, 36, 8, 16, 8, 8, 4, 2),
        (3, 13, 7, 16, 32, 2, 2, 2, 1),
        (1, 1, 1, 8, 16, 4, 4, 2, 1),
        (2, 3, 2, 24, 48, 4, 4, 4, 2),
        (1, 19, 34, 24, 48, 4, 8, 4, 2),
        (1, 5, 3, 8, 16, 2, 4, 2, 1),
    ];
    let mut cases = Vec::new();
    for elem in [DType::F32, DType::F16] {
        for (batch, h, w, mid, out, th, tw, pixels, quads) in sizes {
            let s = Stem {
                batch,
                h,
                w,
                mid,
                out,
            };
            // Few workgroups in a row, so that the grid is folded.
            let caps = Caps {
                max_groups: 2,
                ..Caps::default()
            };
            let binds = Binds {
                x: Arg(0),
                w1: Arg(1),
                b1: Arg(2),
                w2: Arg(3),
                b2: Arg(4),
                y: Arg(5),
            };
            let scaled = |seed, n: usize, by: f32| {
                Array::Elem(noise(seed, n).into_iter().map(|v| v * by).collect())
            };
            let tile = Tile::new(&s, [th, tw], pixels, quads, &caps);
            let [oh, ow] = s.out_map();
            cases.push(Case {
                name: format!("{batch}x{h}x{w}"),
                dispatch: dispatch(&s, elem, tile, binds, &caps),
                arrays: vec![
                    scaled(1, 3 * batch * h * w, 1.0),
                    scaled(2, 27 * mid, 0.2),
                    scaled(3, mid, 0.5),
                    scaled(4, 9 * mid * out, 1.0 / (9.0 * mid as f32).sqrt()),
                    scaled(5, out, 0.5),
                    Array::Out(batch * oh * ow * out),
                ],
            });
        }
    }
    cases
}

/// A 3×3 convolution of stride 2, padded by 1, with ReLU, over `x(y, x, channel)` of `map`: [oh, ow, n].
fn conv<R: Real>(
    x: impl Fn(usize, usize, usize) -> R,
    (map, k, n): ([usize; 2], usize, usize),
    (w, b): (&[R], &[R]),
    elem: DType,
) -> Vec<R> {
    let mut y = Vec::new();
    for (oy, ox) in
        (0..map[0].div_ceil(2)).flat_map(|y| (0..map[1].div_ceil(2)).map(move |x| (y, x)))
    {
        for o in 0..n {
            let mut sum = b[o];
            for tap in 0..9 {
                let (iy, ix) = (2 * oy + tap / 3, 2 * ox + tap % 3);
                if (1..=map[0]).contains(&iy) && (1..=map[1]).contains(&ix) {
                    for i in 0..k {
                        sum += x(iy - 1, ix - 1, i) * w[(tap * k + i) * n + o];
                    }
                }
            }
            y.push(sum.relu().stored(elem));
        }
    }
    y
}

/// Both convolutions of images `x` in the simplest form, with weights [tap, channel, out] and biases.
pub(super) fn both<R: Real>(
    s: &Stem,
    x: &[R],
    first: (&[R], &[R]),
    second: (&[R], &[R]),
    elem: DType,
) -> Vec<R> {
    let half = [s.h.div_ceil(2), s.w.div_ceil(2)];
    let y = x.chunks(3 * s.h * s.w).flat_map(|image| {
        let pixel = |y, x, c| image[(c * s.h + y) * s.w + x];
        let mid = conv(pixel, ([s.h, s.w], 3, s.mid), first, elem);
        let pixel = |y, x, c| mid[(y * half[1] + x) * s.mid + c];
        conv(pixel, (half, s.mid, s.out), second, elem)
    });
    y.collect()
}

fn reference<R: Real>(case: &Case, a: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let s = Stem {
        batch: p.batch as usize,
        h: p.h as usize,
        w: p.w as usize,
        mid: case.variant().u32("MID") as usize,
        out: case.variant().u32("OUT") as usize,
    };
    vec![both(&s, &a[0], (&a[1], &a[2]), (&a[3], &a[4]), case.elem())]
}
