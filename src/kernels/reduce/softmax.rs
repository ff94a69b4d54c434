//! Softmax over the last dimension, with an optional bias whose rows repeat.
//!
//! Ceilings: x is read once from memory (three times from cache) and y written once; two exponentials an
//! element. Bound by bandwidth for long rows, by the two reductions for short ones.

use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "reduce/softmax.wgsl",
    params { rows: u32, cols: u32, bias_rows: u32 },
    binds { x: Read, bias: Read, y: Write },
}

fn workgroup(cols: usize, caps: &Caps) -> usize {
    let most = (caps.max_invocations.clamp(32, 256) as usize + 1).next_power_of_two() / 2;
    cols.clamp(32, most).next_power_of_two()
}

/// Bytes of workgroup memory of the variant that [`dispatch`] takes for rows of `cols`.
pub fn workgroup_bytes(cols: usize, caps: &Caps) -> u32 {
    (workgroup(cols, caps) * 4) as u32
}

/// One dispatch over x [rows, cols], `shape`, contiguous, as y is. With `bias_rows`, the rows of bias
/// [bias_rows, cols] are added in turn; without, the binding `bias` is x once more.
pub fn dispatch(
    shape: [usize; 2],
    bias_rows: Option<usize>,
    elem: DType,
    binds: Binds,
    caps: &Caps,
) -> Dispatch {
    let [rows, cols] = shape;
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        bias_rows: bias_rows.unwrap_or(1) as u32,
    };
    let reduce = if caps.subgroups {
        "subgroup"
    } else {
        "workgroup"
    };
    let bytes = elem.bytes() as u64;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(elem)
            .choose("reduce", reduce)
            .set("WG", workgroup(cols, caps))
            .set("BIAS", bias_rows.is_some()),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(rows as u64, caps),
        category: Category::Attention,
        cost: Cost {
            read_bytes: bytes * ((rows + bias_rows.unwrap_or(0)) * cols) as u64,
            write_bytes: bytes * (rows * cols) as u64,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let mut cases = Vec::new();
    for elem in [DType::F32, DType::F16] {
        for subgroups in [false, true] {
            for (shape, bias_rows, shift, max_groups) in [
                ([1, 1], None, 0.0, 65_535),
                ([7, 16], Some(7), 0.0, 65_535),
                ([98, 49], Some(49), 0.0, 3),
                ([5, 65], None, 500.0, 65_535),
                ([3, 257], None, -500.0, 2),
                ([4, 1031], Some(2), 0.0, 65_535),
            ] {
                let [rows, cols]: [usize; 2] = shape;
                let caps = Caps {
                    max_groups,
                    subgroups,
                    ..Caps::default()
                };

                let binds = Binds {
                    x: Arg(0),
                    bias: Arg(1),
                    y: Arg(2),
                };
                let x = noise(1, rows * cols)
                    .iter()
                    .map(|v| v * 4.0 + shift)
                    .collect();
                cases.push(Case {
                    name: format!("{shape:?}"),
                    dispatch: dispatch(shape, bias_rows, elem, binds, &caps),
                    arrays: vec![
                        Array::Elem(x),
                        Array::Elem(noise(2, (bias_rows.unwrap_or(0) * cols).max(1))),
                        Array::Out(rows * cols),
                    ],
                });
            }
        }
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let (cols, bias_rows) = (p.cols as usize, p.bias_rows as usize);
    let mut y = Vec::new();
    for (r, row) in arrays[0].chunks(cols).enumerate() {
        let score = |(c, &x): (usize, &R)| {
            if case.variant().bool("BIAS") {
                x + arrays[1][r % bias_rows * cols + c]
            } else {
                x
            }
        };
        let s: Vec<R> = row.iter().enumerate().map(score).collect();
        let most = s.iter().fold(s[0], |a, &b| a.max(b));
        let e: Vec<R> = s.iter().map(|&v| (v - most).exp()).collect();
        let sum: R = e.iter().copied().sum();
        y.extend(e.iter().map(|&v| (v / sum).stored(case.elem())));
    }
    vec![y]
}
