//! Trained weights as the kernels that serve language models read them, packed where they are.
//!
//! The bits are those of [`pack`](super::pack) on the host. Ceilings: the weight is read and written once: bound by
//! bandwidth.

use super::pack::{Packing, words};
use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::{DType, Format};

kernel! {
    "matmul/repack.wgsl",
    params { n: u32, k: u32 },
    binds { x: Read, w: Write },
}

/// One dispatch: w u32 `[words(format, shape)]` of x f32 `shape` [n, k], in f32 or f16. (Quantised: `repack_q8_0`.)
pub fn dispatch(shape: [usize; 2], halves: bool, binds: Binds, caps: &Caps) -> Dispatch {
    let [n, k] = shape;
    let format = if halves { Format::F16 } else { Format::F32 };
    let words = words(format, shape);
    let params = Params {
        n: n as u32,
        k: k as u32,
    };
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32).set("HALVES", halves),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid((words / 4).div_ceil(64) as u64, caps),
        category: Category::Reshape,
        cost: Cost {
            read_bytes: 4 * (n * k) as u64,
            write_bytes: 4 * words as u64,
            macs: 0,
        },
    }
}

/// Weights of every kind: noise, with ties between two halves, numbers too small and too large for one, and zeros.
pub(super) fn values(len: usize) -> Vec<f32> {
    let odd = [
        1.000_488_3,
        1.001_464_8,
        3e-6,
        8.9e-8,
        65_519.9,
        7e4,
        0.0,
        -6.2e-5,
    ];
    let mut values = crate::shader::noise(1, len);
    for (i, v) in values.iter_mut().enumerate().filter(|i| i.0 % 5 == 2) {
        *v = odd[i / 5 % odd.len()];
    }
    values
}

fn cases() -> Vec<Case> {
    use crate::shader::Arg;
    let binds = Binds {
        x: Arg(0),
        w: Arg(1),
    };
    let mut cases = Vec::new();
    for halves in [false, true] {
        for (shape, max_groups) in [([1, 4], 65_535), ([33, 100], 3), ([50, 192], 65_535)] {
            let caps = Caps {
                max_groups,
                ..Caps::default()
            };
            let format = if halves { Format::F16 } else { Format::F32 };
            cases.push(Case {
                name: format!("{shape:?}"),
                dispatch: dispatch(shape, halves, binds, &caps),
                arrays: vec![
                    Array::F32(values(shape[0] * shape[1])),
                    Array::OutAs(DType::U32, words(format, shape)),
                ],
            });
        }
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let halves = case.variant().bool("HALVES");
    let format = if halves { Format::F16 } else { Format::F32 };
    let values: Vec<f32> = arrays[0].iter().map(|v| v.f64() as f32).collect();
    let bytes = (Packing::of(format).w)(&values, [p.n as usize, p.k as usize]);
    vec![as_numbers(&bytes)]
}

/// Words as a reference gives them.
pub(super) fn as_numbers<R: Real>(bytes: &[u8]) -> Vec<R> {
    let words: Vec<u32> = bytemuck::pod_collect_to_vec(bytes);
    words.into_iter().map(|v| R::of(f64::from(v))).collect()
}
