//! Trained weights in q8_0, as the kernels that serve language models read them, packed where they are.
//!
//! The bits are those of [`pack`](super::pack) on the host, but where a division rounds otherwise. Ceilings: the weight
//! is read once from memory and eight times from cache, and a quarter of it written: bound by bandwidth.

use super::pack::{Packing, scale_words, words};
use super::repack::as_numbers;
use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::{DType, Format};

kernel! {
    "matmul/repack_q8_0.wgsl",
    params { n: u32, k: u32 },
    binds { x: Read, w: Write, scales: Write },
}

const FORMAT: Format = Format::Q8_0;

/// One dispatch: w u32 `[words(Q8_0, shape)]` and scales u32 `[scale_words(Q8_0, shape)]` of x f32 `shape` [n, k].
pub fn dispatch(shape: [usize; 2], binds: Binds, caps: &Caps) -> Dispatch {
    let [n, k] = shape;
    let scales = scale_words(FORMAT, shape);
    let params = Params {
        n: n as u32,
        k: k as u32,
    };
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(words(FORMAT, shape).div_ceil(64) as u64, caps),
        category: Category::Reshape,
        cost: Cost {
            read_bytes: 4 * (n * k) as u64,
            write_bytes: 4 * (words(FORMAT, shape) + scales) as u64,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let binds = Binds {
        x: Arg(0),
        w: Arg(1),
        scales: Arg(2),
    };
    let mut cases = Vec::new();
    for (shape, max_groups) in [([1, 4], 65_535), ([33, 100], 2), ([50, 192], 65_535)] {
        let caps = Caps {
            max_groups,
            ..Caps::default()
        };
        let [n, k] = shape;
        cases.push(Case {
            name: format!("{shape:?}"),
            dispatch: dispatch(shape, binds, &caps),
            arrays: vec![
                Array::F32(noise(1, n * k)),
                Array::OutAs(DType::U32, words(FORMAT, shape)),
                Array::OutAs(DType::U32, scale_words(FORMAT, shape)),
            ],
        });
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let values: Vec<f32> = arrays[0].iter().map(|v| v.f64() as f32).collect();
    let (packing, shape) = (Packing::of(FORMAT), [p.n as usize, p.k as usize]);
    let mut out = vec![as_numbers(&(packing.w)(&values, shape))];
    out.extend(packing.scales.map(|s| as_numbers(&s(&values, shape))));
    out
}
