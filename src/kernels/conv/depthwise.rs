//! Depthwise convolution: each channel with its own filter.
//!
//! Ceilings: x is read once from memory (side² times from cache, where the stride is 1) and y written once, side²
//! multiply-adds an element: bound by bandwidth on a GPU up to a side of 3, by loads from cache above.

use super::Filter;
use crate::kernel;
use crate::kernels::lanes::{Lanes, distinct};
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::{DType, Layout};

kernel! {
    "conv/depthwise.wgsl",
    params {
        n: u32,
        h: u32, w: u32,
        oh: u32, ow: u32, c: u32,
        x0: u32, x1: u32, x2: u32, x3: u32, x_offset: u32,
    },
    binds { x: Read, weight: Read, bias: Read, y: Write },
}

const WG: u32 = 128;

/// One dispatch over `x`, a view [B, H, W, C]; weight is [side, side, C], bias [C], y
/// [B, filter.out(H), filter.out(W), C], contiguous.
pub fn dispatch(filter: Filter, x: &Layout, elem: DType, binds: Binds, caps: &Caps) -> Dispatch {
    let lanes = Lanes::of(&[x]);
    let (batch, h, w, c) = (x.shape[0], x.shape[1], x.shape[2], x.shape[3]);
    let (oh, ow) = (filter.out(h), filter.out(w));
    let n = lanes.items(batch * oh * ow * c);
    let [x0, x1, x2, x3, x_offset] = lanes.strides(x);
    let params = Params {
        n,
        h: h as u32,
        w: w as u32,
        oh: oh as u32,
        ow: ow as u32,
        c: lanes.items(c),
        x0,
        x1,
        x2,
        x3,
        x_offset,
    };
    let taps = filter.side * filter.side;
    let bytes = elem.bytes() as u64;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(elem)
            .choose("lanes", lanes.choice())
            .set("SIDE", filter.side)
            .set("STRIDE", filter.stride)
            .set("PAD", filter.pad)
            .set("RELU", filter.relu),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(u64::from(n.div_ceil(WG)), caps),
        category: Category::Depthwise,
        cost: Cost {
            read_bytes: bytes * (distinct(x) + (c * (taps + 1)) as u64),
            write_bytes: bytes * (batch * oh * ow * c) as u64,
            macs: (batch * oh * ow * c * taps) as u64,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let whole = |s: [usize; 4]| Layout::contiguous(&s);
    let part = |v: Layout, start: usize, len: usize| v.slice(3, start, len).unwrap_or(v);
    let planes = |s: [usize; 4]| {
        let v = whole([s[0], s[3], s[1], s[2]]);
        v.permute(&[0, 2, 3, 1]).unwrap_or(v)
    };
    let mut cases = Vec::new();
    for elem in [DType::F32, DType::F16] {
        for (name, x, side, stride, pad, relu, max_groups) in [
            ("one", whole([1, 1, 1, 1]), 1, 1, 0, false, 65_535),
            ("same", whole([2, 7, 7, 12]), 3, 1, 1, false, 65_535),
            ("down", whole([2, 7, 9, 8]), 3, 2, 1, true, 1),
            ("down_odd", whole([1, 8, 5, 5]), 3, 2, 1, true, 65_535),
            (
                "q5",
                part(whole([3, 4, 4, 48]), 16, 16),
                5,
                1,
                2,
                false,
                65_535,
            ),
            ("q7", part(whole([2, 4, 4, 10]), 1, 6), 7, 1, 3, false, 2),
            ("planes", planes([2, 6, 5, 8]), 3, 1, 0, true, 65_535),
        ] {
            let filter = Filter {
                side,
                stride,
                pad,
                relu,
            };
            let caps = Caps {
                max_groups,
                ..Caps::default()
            };
            let binds = Binds {
                x: Arg(0),
                weight: Arg(1),
                bias: Arg(2),
                y: Arg(3),
            };
            let c = x.shape[3];
            let y = x.shape[0] * filter.out(x.shape[1]) * filter.out(x.shape[2]) * c;
            cases.push(Case {
                name: name.into(),
                dispatch: dispatch(filter, &x, elem, binds, &caps),
                arrays: vec![
                    Array::Elem(noise(1, x.end())),
                    Array::Elem(noise(2, side * side * c)),
                    Array::Elem(noise(3, c)),
                    Array::Out(y),
                ],
            });
        }
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let v = case.variant();
    let l = Lanes::chosen(v).elements();
    let [side, stride, pad] = ["SIDE", "STRIDE", "PAD"].map(|name| v.u32(name) as usize);
    let [n, h, w, oh, ow, c] = [p.n, p.h, p.w, p.oh, p.ow, p.c].map(|v| v as usize);
    let [x0, x1, x2, x3, offset] = [p.x0, p.x1, p.x2, p.x3, p.x_offset].map(|v| v as usize);
    let y = (0..n * l).map(|i| {
        let (item, lane) = (i / l, i % l);
        let (channel, column, row) = (item % c, item / c % ow, item / c / ow % oh);
        let image = offset + item / c / ow / oh * x0 + channel * x3;
        let mut sum = arrays[2][channel * l + lane];
        for r in 0..side {
            for s in 0..side {
                let (y, x) = (row * stride + r, column * stride + s);
                if (pad..pad + h).contains(&y) && (pad..pad + w).contains(&x) {
                    let from = image + (y - pad) * x1 + (x - pad) * x2;
                    let tap = (r * side + s) * c + channel;
                    sum += arrays[1][tap * l + lane] * arrays[0][from * l + lane];
                }
            }
        }
        (if v.bool("RELU") { sum.relu() } else { sum }).stored(case.elem())
    });
    vec![y.collect()]
}
