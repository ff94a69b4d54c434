//! `y[b, c]`, the sum of `x[b, p, c]` over its positions p, in f32, times a scale: a mean, or a sum.
//!
//! Ceilings: x is read once, one addition an element: bound by bandwidth, or by latency where there are few
//! images and channels.

use crate::kernel;
use crate::kernels::lanes::{Lanes, distinct};
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::{DType, Layout};

kernel! {
    "reduce/mean.wgsl",
    params {
        b: u32, p: u32, c: u32,
        x0: u32, x1: u32, x2: u32, x_offset: u32,
        scale: f32,
    },
    binds { x: Read, y: Write },
}

const WG: usize = 256;
const ACROSS: usize = 32;

/// Bytes of workgroup memory of the variant that [`dispatch`] takes for `x`.
pub fn workgroup_bytes(x: &Layout) -> u32 {
    (WG * Lanes::of(&[x]).elements() * 4) as u32
}

/// One dispatch over `x`, a view [B, P, C] with P of at least 1; y is [B, C], contiguous.
pub fn dispatch(elem: DType, x: &Layout, scale: f32, binds: Binds, caps: &Caps) -> Dispatch {
    let lanes = Lanes::of(&[x]);
    let (b, p, c) = (x.shape[0], x.shape[1], lanes.items(x.shape[2]));
    let [x0, x1, x2, x_offset] = lanes.strides(x);
    let params = Params {
        b: b as u32,
        p: p as u32,
        c,
        x0,
        x1,
        x2,
        x_offset,
        scale,
    };
    let bytes = elem.bytes() as u64;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(elem).choose("lanes", lanes.choice()),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(b as u64 * u64::from(c).div_ceil(ACROSS as u64), caps),
        category: Category::Reduce,
        cost: Cost {
            read_bytes: bytes * distinct(x),
            write_bytes: bytes * (b * x.shape[2]) as u64,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::Arg;
    let whole = |s: [usize; 3]| Layout::contiguous(&s);
    let part =
        |s: [usize; 3], start: usize, len: usize| whole(s).slice(2, start, len).unwrap_or(whole(s));
    let mut cases = Vec::new();
    for elem in [DType::F32, DType::F16] {
        for (name, x, max_groups) in [
            ("one", whole([1, 1, 1]), 65_535),
            ("odd", whole([3, 49, 37]), 2),
            ("four", whole([2, 16, 132]), 65_535),
            ("many_groups", whole([5, 9, 260]), 2),
            ("slice_four", part([2, 13, 24], 8, 12), 65_535),
            ("slice_odd", part([2, 100, 9], 2, 5), 65_535),
            (
                "turned",
                whole([2, 11, 17])
                    .permute(&[0, 2, 1])
                    .unwrap_or(whole([1, 1, 1])),
                65_535,
            ),
        ] {
            let caps = Caps {
                max_groups,
                ..Caps::default()
            };
            let binds = Binds {
                x: Arg(0),
                y: Arg(1),
            };
            cases.push(Case {
                name: name.into(),
                dispatch: dispatch(elem, &x, 1.0 / x.shape[1] as f32, binds, &caps),
                arrays: vec![
                    Array::Elem(crate::shader::noise(1, x.end())),
                    Array::Out(x.shape[0] * x.shape[2]),
                ],
            });
        }
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let l = Lanes::chosen(case.variant()).elements();
    let [b, n, c, x0, x1, x2, offset] =
        [p.b, p.p, p.c, p.x0, p.x1, p.x2, p.x_offset].map(|v| v as usize);
    let y = (0..b * c * l).map(|i| {
        let (item, lane) = (i / l, i % l);
        let from = offset + item / c * x0 + item % c * x2;
        let sum: R = (0..n).map(|j| arrays[0][(from + j * x1) * l + lane]).sum();
        (sum * R::of(f64::from(p.scale))).stored(case.elem())
    });
    vec![y.collect()]
}
