//! Batches of small matrix products over views: the plain QKᵀ and AV of attention.
//!
//! Ceilings: a 16 × 16 tile costs 4096 multiply-adds for 512 loads, and two reads of workgroup memory for each
//! multiply-add: those reads are predicted to bound it. At K = 16 and N = 49 bandwidth is close behind.

use crate::kernel;
use crate::kernels::lanes::distinct;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::{DType, Layout};

kernel! {
    "matmul/batched.wgsl",
    params {
        m: u32, n: u32, k: u32,
        b: u32, b1: u32,
        a0: u32, a1: u32, a_row: u32, a_column: u32, a_offset: u32,
        w0: u32, w1: u32, w_row: u32, w_column: u32, w_offset: u32,
        scale: f32,
    },
    binds { a: Read, w: Read, y: Write },
}

const TILE: u64 = 16;

/// Bytes of workgroup memory.
pub fn workgroup_bytes() -> u32 {
    2 * (TILE * TILE) as u32 * 4
}

/// One dispatch over the views `a` [B0, B1, M, K] and `w` [B0, B1, K, N]; y is [B0, B1, M, N], contiguous.
pub fn dispatch(
    a: &Layout,
    w: &Layout,
    scale: f32,
    elem: DType,
    binds: Binds,
    caps: &Caps,
) -> Dispatch {
    let (b, m, k, n) = (a.shape[0] * a.shape[1], a.shape[2], a.shape[3], w.shape[3]);
    let u = |v: usize| v as u32;
    let params = Params {
        m: u(m),
        n: u(n),
        k: u(k),
        b: u(b),
        b1: u(a.shape[1]),
        a0: u(a.strides[0]),
        a1: u(a.strides[1]),
        a_row: u(a.strides[2]),
        a_column: u(a.strides[3]),
        a_offset: u(a.offset),
        w0: u(w.strides[0]),
        w1: u(w.strides[1]),
        w_row: u(w.strides[2]),
        w_column: u(w.strides[3]),
        w_offset: u(w.offset),
        scale,
    };
    let bytes = elem.bytes() as u64;
    let groups = b as u64 * (m as u64).div_ceil(TILE) * (n as u64).div_ceil(TILE);
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(elem),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(groups, caps),
        category: Category::Attention,
        cost: Cost {
            read_bytes: bytes * (distinct(a) + distinct(w)),
            write_bytes: bytes * (b * m * n) as u64,
            macs: (b * m * n * k) as u64,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let whole = |s: [usize; 4]| Layout::contiguous(&s);
    let part = |v: Layout, start: usize, len: usize| v.slice(3, start, len).unwrap_or(v);
    let turned = |v: Layout| v.permute(&[0, 1, 3, 2]).unwrap_or(v);
    // Tokens × heads × dim as [B, heads, tokens, dim].
    let heads = |s: [usize; 4]| {
        let v = whole([s[0], s[2], s[1], s[3]]);
        v.permute(&[0, 2, 1, 3]).unwrap_or(v)
    };
    let mut cases = Vec::new();
    for elem in [DType::F32, DType::F16] {
        for (name, a, w, scale, max_groups) in [
            ("one", whole([1, 1, 1, 1]), whole([1, 1, 1, 1]), 1.0, 65_535),
            (
                "tile",
                whole([1, 2, 16, 16]),
                whole([1, 2, 16, 16]),
                1.0,
                65_535,
            ),
            (
                "ragged",
                whole([2, 3, 17, 33]),
                whole([2, 3, 33, 5]),
                -0.5,
                2,
            ),
            (
                "qk",
                part(heads([2, 3, 49, 64]), 0, 16),
                turned(part(heads([2, 3, 49, 64]), 16, 16)),
                0.25,
                65_535,
            ),
            (
                "av",
                whole([2, 3, 49, 49]),
                part(heads([2, 3, 49, 64]), 32, 32),
                1.0,
                7,
            ),
            (
                "shared",
                whole([2, 3, 9, 20]),
                whole([1, 1, 20, 18])
                    .broadcast(&[2, 3, 20, 18])
                    .unwrap_or(whole([2, 3, 20, 18])),
                1.0,
                65_535,
            ),
        ] {
            let caps = Caps {
                max_groups,
                ..Caps::default()
            };
            let binds = Binds {
                a: Arg(0),
                w: Arg(1),
                y: Arg(2),
            };
            let y = a.shape[0] * a.shape[1] * a.shape[2] * w.shape[3];
            cases.push(Case {
                name: name.into(),
                dispatch: dispatch(&a, &w, scale, elem, binds, &caps),
                arrays: vec![
                    Array::Elem(noise(1, a.end())),
                    Array::Elem(noise(2, w.end())),
                    Array::Out(y),
                ],
            });
        }
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let u = |v: u32| v as usize;
    let mut y = Vec::new();
    for b in 0..p.b {
        let a_at = p.a_offset + b / p.b1 * p.a0 + b % p.b1 * p.a1;
        let w_at = p.w_offset + b / p.b1 * p.w0 + b % p.b1 * p.w1;
        for m in 0..p.m {
            for n in 0..p.n {
                let product = |k: u32| {
                    arrays[0][u(a_at + m * p.a_row + k * p.a_column)]
                        * arrays[1][u(w_at + k * p.w_row + n * p.w_column)]
                };
                let sum: R = (0..p.k).map(product).sum();
                y.push((R::of(f64::from(p.scale)) * sum).stored(case.elem()));
            }
        }
    }
    vec![y]
}
