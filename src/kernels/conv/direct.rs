//! Convolution of any shape, straight from its formula. x may be in planes (NCHW) or channels-last.
//!
//! Ceilings: side² · Ci multiply-adds an element of y. An invocation of 4 columns × 4 channels loads 5 times for
//! 16 multiply-adds: predicted to be bound by loads from cache, and by bandwidth where side² · Ci is small.

use super::Filter;
use crate::kernel;
use crate::kernels::lanes::{Lanes, distinct};
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::{DType, Layout};

kernel! {
    "conv/direct.wgsl",
    params {
        n: u32,
        h: u32, w: u32, ci: u32,
        oh: u32, ow: u32, co: u32,
        x0: u32, x1: u32, x2: u32, x3: u32, x_offset: u32,
    },
    binds { x: Read, weight: Read, bias: Read, y: Write },
}

const WG: usize = 64;

/// One dispatch over `x`, a view [B, H, W, Ci]; weight is [side, side, Ci, Co], bias [Co], y
/// [B, filter.out(H), filter.out(W), Co], contiguous.
pub fn dispatch(
    filter: Filter,
    x: &Layout,
    co: usize,
    elem: DType,
    binds: Binds,
    caps: &Caps,
) -> Dispatch {
    let lanes = Lanes::of(&[&Layout::contiguous(&[co])]);
    let (batch, h, w, ci) = (x.shape[0], x.shape[1], x.shape[2], x.shape[3]);
    let (oh, ow) = (filter.out(h), filter.out(w));
    let invocations = |tw: usize| batch * oh * ow.div_ceil(tw) * lanes.items(co) as usize;
    let tw = if invocations(4) >= WG * caps.parallel as usize {
        4
    } else {
        1
    };
    let n = invocations(tw);
    let params = Params {
        n: n as u32,
        h: h as u32,
        w: w as u32,
        ci: ci as u32,
        oh: oh as u32,
        ow: ow as u32,
        co: lanes.items(co),
        x0: x.strides[0] as u32,
        x1: x.strides[1] as u32,
        x2: x.strides[2] as u32,
        x3: x.strides[3] as u32,
        x_offset: x.offset as u32,
    };
    let depth = filter.side * filter.side * ci;
    let bytes = elem.bytes() as u64;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(elem)
            .choose("lanes", lanes.choice())
            .set("SIDE", filter.side)
            .set("STRIDE", filter.stride)
            .set("PAD", filter.pad)
            .set("RELU", filter.relu)
            .set("TW", tw),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(n.div_ceil(WG) as u64, caps),
        category: Category::Convolution,
        cost: Cost {
            read_bytes: bytes * (distinct(x) + (co * (depth + 1)) as u64),
            write_bytes: bytes * (batch * oh * ow * co) as u64,
            macs: (batch * oh * ow * co * depth) as u64,
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
        for (name, x, co, side, stride, pad, relu, parallel) in [
            ("one", whole([1, 1, 1, 1]), 1, 1, 1, 0, false, 16),
            ("stem", planes([2, 15, 13, 3]), 8, 3, 2, 1, true, 1),
            ("stem_few", planes([1, 16, 16, 3]), 24, 3, 2, 1, true, 1000),
            ("odd", part(whole([2, 5, 7, 9]), 2, 5), 7, 3, 1, 1, false, 1),
            ("large_pad", whole([1, 3, 2, 4]), 12, 5, 1, 3, false, 1),
            ("patch", planes([2, 8, 12, 3]), 16, 4, 4, 0, false, 1),
            ("gap", whole([1, 9, 9, 2]), 3, 1, 2, 0, true, 16),
        ] {
            let filter = Filter {
                side,
                stride,
                pad,
                relu,
            };
            let caps = Caps {
                max_groups: if parallel == 1 { 3 } else { 65_535 },
                parallel,
                ..Caps::default()
            };
            let binds = Binds {
                x: Arg(0),
                weight: Arg(1),
                bias: Arg(2),
                y: Arg(3),
            };
            let y = x.shape[0] * filter.out(x.shape[1]) * filter.out(x.shape[2]) * co;
            cases.push(Case {
                name: name.into(),
                dispatch: dispatch(filter, &x, co, elem, binds, &caps),
                arrays: vec![
                    Array::Elem(noise(1, x.end())),
                    Array::Elem(noise(2, side * side * x.shape[3] * co)),
                    Array::Elem(noise(3, co)),
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
    let [side, stride, pad] = ["SIDE", "STRIDE", "PAD"].map(|name| v.u32(name) as usize);
    let [h, w, ci, oh, ow] = [p.h, p.w, p.ci, p.oh, p.ow].map(|v| v as usize);
    let [x0, x1, x2, x3, offset] = [p.x0, p.x1, p.x2, p.x3, p.x_offset].map(|v| v as usize);
    let co = p.co as usize * Lanes::chosen(v).elements();
    let y = (0..case.arrays[3].len()).map(|i| {
        let (o, column, row) = (i % co, i / co % ow, i / co / ow % oh);
        let image = offset + i / co / ow / oh * x0;
        let mut sum = arrays[2][o];
        for r in 0..side {
            for s in 0..side {
                let (y, x) = (row * stride + r, column * stride + s);
                if (pad..pad + h).contains(&y) && (pad..pad + w).contains(&x) {
                    for c in 0..ci {
                        let from = image + (y - pad) * x1 + (x - pad) * x2 + c * x3;
                        sum += arrays[1][((r * side + s) * ci + c) * co + o] * arrays[0][from];
                    }
                }
            }
        }
        (if v.bool("RELU") { sum.relu() } else { sum }).stored(case.elem())
    });
    vec![y.collect()]
}
