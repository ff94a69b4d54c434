//! `y = a op b` with broadcasting, op being `add` or `mul`.

use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::{DType, Layout};

kernel! {
    "elementwise/binary.wgsl",
    params {
        n: u32, d1: u32, d2: u32, d3: u32,
        a0: u32, a1: u32, a2: u32, a3: u32, a_offset: u32,
        b0: u32, b1: u32, b2: u32, b3: u32, b_offset: u32,
    },
    binds { a: Read, b: Read, y: Write },
}

const WG: u32 = 256;

/// One dispatch of `op` ("add" or "mul") over views `a` and `b`, both of the shape of `y`, of four dimensions.
pub fn dispatch(
    op: &'static str,
    elem: DType,
    a: &Layout,
    b: &Layout,
    binds: Binds,
    caps: &Caps,
) -> Dispatch {
    let n = a.len();
    let u = |v: usize| v as u32;
    let params = Params {
        n: u(n),
        d1: u(a.shape[1]),
        d2: u(a.shape[2]),
        d3: u(a.shape[3]),
        a0: u(a.strides[0]),
        a1: u(a.strides[1]),
        a2: u(a.strides[2]),
        a3: u(a.strides[3]),
        a_offset: u(a.offset),
        b0: u(b.strides[0]),
        b1: u(b.strides[1]),
        b2: u(b.strides[2]),
        b3: u(b.strides[3]),
        b_offset: u(b.offset),
    };
    let bytes = elem.bytes() as u64;
    let distinct = |l: &Layout| -> u64 {
        (l.shape.iter().zip(&l.strides))
            .map(|(&d, &s)| if s == 0 { 1 } else { d as u64 })
            .product()
    };
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(elem).choose("binary", op),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid((n as u64).div_ceil(u64::from(WG)), caps),
        category: Category::Elementwise,
        cost: Cost {
            read_bytes: bytes * (distinct(a) + distinct(b)),
            write_bytes: bytes * n as u64,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, Case as C};
    let mut cases = Vec::new();
    for elem in [DType::F32, DType::F16] {
        for (op, shape, gate) in [
            ("add", [2, 3, 5, 7], false),
            ("mul", [2, 3, 4, 8], true),
            ("add", [1, 1, 1, 1], false),
        ] {
            let a = Layout::contiguous(&shape);
            let small = Layout::contiguous(&[shape[0], 1, 1, shape[3]]);
            let b = if gate {
                small.broadcast(&shape).unwrap_or(a.clone())
            } else {
                a.clone()
            };
            let binds = Binds {
                a: Arg(0),
                b: Arg(1),
                y: Arg(2),
            };
            let caps = Caps {
                max_groups: if gate { 1 } else { 65_535 },
                ..Caps::default()
            };
            cases.push(C {
                name: format!("{op}_{shape:?}"),
                dispatch: dispatch(op, elem, &a, &b, binds, &caps),
                arrays: vec![
                    Array::Elem(crate::shader::noise(1, a.len())),
                    Array::Elem(crate::shader::noise(2, b.end())),
                    Array::Out(a.len()),
                ],
            });
        }
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let mul = case.variant().choice("binary") == "mul";
    let at = |i: usize, s: [u32; 5]| {
        let (d1, d2, d3) = (p.d1 as usize, p.d2 as usize, p.d3 as usize);
        let [s0, s1, s2, s3, offset] = s.map(|v| v as usize);
        offset + i / (d1 * d2 * d3) * s0 + i / (d2 * d3) % d1 * s1 + i / d3 % d2 * s2 + i % d3 * s3
    };
    let y = (0..p.n as usize).map(|i| {
        let a = arrays[0][at(i, [p.a0, p.a1, p.a2, p.a3, p.a_offset])];
        let b = arrays[1][at(i, [p.b0, p.b1, p.b2, p.b3, p.b_offset])];
        (if mul { a * b } else { a + b }).stored(case.elem())
    });
    vec![y.collect()]
}
