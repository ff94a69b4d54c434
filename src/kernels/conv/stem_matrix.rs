//! [`stem`](super::stem) on matrix units, in f16.
//!
//! Bytes as there: 0.6 MB an image of 224 with 48 channels, 0.15 µs at 4 TB/s. Operations: the first product is
//! 48 deep for its 27 inputs and N1 wide for MID, the second `3·K2` deep for `9·MID`; with 24 and 48 channels that
//! is 63 M multiply-adds an image for the 41 M that it needs, 1.3 µs at 100 TFLOP/s.

use super::stem::{Stem, both};
use crate::kernel;
use crate::shader::{
    Arg, Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid, noise,
};
use crate::tensor::DType;

kernel! {
    "conv/stem_matrix.wgsl",
    params { batch: u32, h: u32, w: u32 },
    binds { x: Read, w1: Read, b1: Read, w2: Read, b2: Read, y: Write },
}

/// How a workgroup goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Pixels of y of a workgroup; `w` is at most 16.
    pub h: usize,
    pub w: usize,
    /// Blocks of 16 channels of y that a subgroup computes together, a divisor of `out / 16`.
    pub across: usize,
    /// 32 times a divisor of `h * out / 16 / across`.
    pub wg: usize,
}

impl Tile {
    fn groups(&self, s: &Stem) -> usize {
        let [h, w] = s.out_map();
        s.batch * h.div_ceil(self.h) * w.div_ceil(self.w)
    }
}

/// The shapes that the two weights have here: [tap y, tap x, channel, out] as [3, 4, 4, _] and [tap y, (tap x,
/// channel), out] as [3, _, OUT], zeros beyond the 3 × 3 × 3 × MID and 3 × 3·MID × OUT that there are.
pub fn weight_shapes(s: &Stem) -> ([usize; 4], [usize; 3]) {
    let n1 = s.mid.next_multiple_of(16);
    let k2 = (3 * s.mid).next_multiple_of(16);
    ([3, 4, 4, n1], [3, k2, s.out])
}

/// Bytes of workgroup memory that a workgroup takes.
pub fn workgroup_bytes(s: &Stem, tile: Tile) -> usize {
    let (mid_h, mid_w) = (2 * tile.h + 1, 2 * tile.w + 1);
    let image = (2 * mid_h + 1) * (2 * mid_w + 2) + 32 * mid_w.div_ceil(16);
    let mid = (mid_h * mid_w + 8) * s.mid / 4;
    let padded = |quads: usize| (quads * 8).next_multiple_of(16);
    padded(image) + padded(mid) + tile.wg / 32 * 2048
}

/// The tile that suits the size on this adapter, or nothing where it has no matrix units for f16 or too little
/// workgroup memory.
pub fn choose(s: &Stem, elem: DType, caps: &Caps) -> Option<Tile> {
    if !caps.matrix_units(elem) || !s.out.is_multiple_of(16) {
        return None;
    }
    // The part of mid under 15 pixels is 31 wide: two blocks of 16.
    let across = s.out_map()[1].div_ceil(15).max(1);
    let w = s.out_map()[1].div_ceil(across).max(1);
    let blocks = s.out / 16;
    let many = Tile {
        h: 4,
        w,
        across: blocks,
        wg: 128,
    };
    // Few images: more workgroups, and more of their subgroups have a part of y.
    let few = Tile {
        h: 2,
        w,
        across: 1,
        wg: if blocks > 3 { 64 } else { 64 * blocks },
    };
    let tiles = [many, few];
    let fits = |t: &&Tile| workgroup_bytes(s, **t) <= caps.max_workgroup_bytes as usize;
    let busy = |t: &&Tile| t.groups(s) >= 2 * caps.parallel as usize;
    let fitting: Vec<&Tile> = tiles.iter().filter(fits).collect();
    let first = fitting.iter().copied().find(|t| busy(t));
    first.or(fitting.last().copied()).copied()
}

/// One dispatch.
pub fn dispatch(s: &Stem, tile: Tile, binds: Binds, caps: &Caps) -> Dispatch {
    let bytes = |n: usize| (n * DType::F16.bytes()) as u64;
    let [out_h, out_w] = s.out_map();
    let pixels = s.batch * out_h * out_w;
    let mid = s.batch * s.h.div_ceil(2) * s.w.div_ceil(2) * s.mid;
    let (w1, w2) = weight_shapes(s);
    let weights = w1.iter().product::<usize>() + w2.iter().product::<usize>() + s.mid + s.out;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F16)
            .set("MID", s.mid)
            .set("OUT", s.out)
            .set("TILE_H", tile.h)
            .set("TILE_W", tile.w)
            .set("ACROSS", tile.across)
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
        // batch, h, w, mid, out, tile h, tile w, blocks together, invocations
        (2, 32, 116, 24, 48, 4, 15, 3, 128),
        (1, 13, 7, 16, 32, 2, 2, 1, 128),
        (3, 3, 1, 8, 16, 2, 1, 1, 64),
        (1, 56, 56, 24, 48, 2, 14, 1, 192),
        (1, 30, 20, 8, 16, 2, 5, 1, 32),
    ];
    let one = |(batch, h, w, mid, out, th, tw, across, wg)| {
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
        let scaled = |seed, n: usize, by: f32| -> Vec<f32> {
            noise(seed, n).into_iter().map(|v| v * by).collect()
        };
        let ([_, _, _, n1], [_, k2, _]) = weight_shapes(&s);
        let mut w1 = scaled(2, 48 * n1, 0.2);
        for (i, v) in w1.iter_mut().enumerate() {
            if i % n1 >= mid || i / n1 % 4 == 3 || i / (4 * n1) % 4 == 3 {
                *v = 0.0;
            }
        }
        let mut w2 = scaled(4, 3 * k2 * out, 1.0 / (9.0 * mid as f32).sqrt());
        for (i, v) in w2.iter_mut().enumerate() {
            if i / out % k2 >= 3 * mid {
                *v = 0.0;
            }
        }
        let [oh, ow] = s.out_map();
        let tile = Tile {
            h: th,
            w: tw,
            across,
            wg,
        };
        Case {
            name: format!("{batch}x{h}x{w}"),
            dispatch: dispatch(&s, tile, binds, &caps),
            arrays: vec![
                Array::Elem(scaled(1, 3 * batch * h * w, 1.0)),
                Array::Elem(w1),
                Array::Elem(scaled(3, mid, 0.5)),
                Array::Elem(w2),
                Array::Elem(scaled(5, out, 0.5)),
                Array::Out(batch * oh * ow * out),
            ],
        }
    };
    sizes.map(one).into()
}

fn reference<R: Real>(case: &Case, a: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let (mid, out) = (
        case.variant().u32("MID") as usize,
        case.variant().u32("OUT") as usize,
    );
    let s = Stem {
        batch: p.batch as usize,
        h: p.h as usize,
        w: p.w as usize,
        mid,
        out,
    };
    let ([_, _, _, n1], [_, k2, _]) = weight_shapes(&s);
    let w1: Vec<R> = (0..27 * mid)
        .map(|i| {
            let (tap, channel) = (i / mid / 3, i / mid % 3);
            a[1][((tap / 3 * 4 + tap % 3) * 4 + channel) * n1 + i % mid]
        })
        .collect();
    let w2: Vec<R> = (0..9 * mid * out)
        .map(|i| {
            let k = i / out;
            a[3][(k / (3 * mid) * k2 + k % (3 * mid)) * out + i % out]
        })
        .collect();
    vec![both(&s, &a[0], (&w1, &a[2]), (&w2, &a[4]), case.elem())]
}
