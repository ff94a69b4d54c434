//! `y = op(x)`, op being `relu` or `sigmoid`.
//!
//! Ceilings: each element is read once and written once, a handful of operations each; with four lanes it is
//! bound by bandwidth on a GPU, with one lane by the index arithmetic.

use crate::kernel;
use crate::kernels::lanes::{Lanes, at, distinct};
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::{DType, Layout};

kernel! {
    "elementwise/unary.wgsl",
    params {
        n: u32, d1: u32, d2: u32, d3: u32,
        x0: u32, x1: u32, x2: u32, x3: u32, x_offset: u32,
    },
    binds { x: Read, y: Write },
}

const WG: u32 = 256;

/// One dispatch of `op` ("relu" or "sigmoid") over `x`, a view of four dimensions; y is contiguous.
pub fn dispatch(op: &'static str, elem: DType, x: &Layout, binds: Binds, caps: &Caps) -> Dispatch {
    let lanes = Lanes::of(&[x]);
    let n = lanes.items(x.len());
    let [x0, x1, x2, x3, x_offset] = lanes.strides(x);
    let params = Params {
        n,
        d1: x.shape[1] as u32,
        d2: x.shape[2] as u32,
        d3: lanes.items(x.shape[3]),
        x0,
        x1,
        x2,
        x3,
        x_offset,
    };
    let bytes = elem.bytes() as u64;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(elem)
            .choose("unary", op)
            .choose("lanes", lanes.choice()),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(u64::from(n.div_ceil(WG)), caps),
        category: Category::Elementwise,
        cost: Cost {
            read_bytes: bytes * distinct(x),
            write_bytes: bytes * x.len() as u64,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::Arg;
    let whole = |s: &[usize]| Layout::contiguous(s);
    let odd = whole(&[2, 3, 5, 9]);
    let views = [
        ("one", whole(&[1, 1, 1, 1]), 65_535),
        ("odd", odd.clone(), 65_535),
        ("slice", odd.slice(3, 1, 7).unwrap_or(odd.clone()), 65_535),
        ("turned", odd.permute(&[0, 3, 1, 2]).unwrap_or(odd), 65_535),
        ("four", whole(&[3, 5, 7, 24]), 1),
        (
            "four_slice",
            whole(&[2, 3, 5, 16])
                .slice(3, 4, 8)
                .unwrap_or(whole(&[1, 1, 1, 4])),
            65_535,
        ),
    ];
    let mut cases = Vec::new();
    for elem in [DType::F32, DType::F16] {
        for op in ["relu", "sigmoid"] {
            for (name, x, max_groups) in &views {
                let caps = Caps {
                    max_groups: *max_groups,
                    ..Caps::default()
                };
                let binds = Binds {
                    x: Arg(0),
                    y: Arg(1),
                };
                cases.push(Case {
                    name: (*name).into(),
                    dispatch: dispatch(op, elem, x, binds, &caps),
                    arrays: vec![
                        Array::Elem(crate::shader::noise(1, x.end())),
                        Array::Out(x.len()),
                    ],
                });
            }
        }
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let lanes = Lanes::chosen(case.variant());
    let strides = [p.x0, p.x1, p.x2, p.x3, p.x_offset];
    let y = (0..p.n as usize * lanes.elements()).map(|i| {
        let x = arrays[0][at(lanes, i, [p.d1, p.d2, p.d3], strides)];
        let y = if case.variant().choice("unary") == "relu" {
            x.relu()
        } else {
            x.sigmoid()
        };
        y.stored(case.elem())
    });
    vec![y.collect()]
}
