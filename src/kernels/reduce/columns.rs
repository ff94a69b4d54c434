//! Sums of columns: the gradient of a bias, and what other kernels leave in parts.
//!
//! Ceilings: x is read once: bound by bandwidth for many rows and columns, else by latency.

use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "reduce/columns.wgsl",
    params { rows: u32, cols: u32, scale: f32 },
    binds { x: Read, y: Write },
}

/// One dispatch: y f32 `[cols]` = `scale` × the sums over rows of x f32 `[rows, cols]`, with `accumulate` added to
/// what y holds.
pub fn dispatch(
    [rows, cols]: [usize; 2],
    scale: f32,
    accumulate: bool,
    binds: Binds,
    caps: &Caps,
) -> Dispatch {
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        scale,
    };
    let wide = cols >= 128 * caps.parallel as usize;
    let across = match (wide, rows) {
        (true, _) | (_, ..=8) => 64,
        _ if cols < 16 => 4,
        _ => 16,
    };
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32)
            .set("ACROSS", across as u32)
            .set("ACCUMULATE", accumulate),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(cols.div_ceil(across) as u64, caps),
        category: Category::Reduce,
        cost: Cost {
            read_bytes: 4 * (cols * (rows + usize::from(accumulate))) as u64,
            write_bytes: 4 * cols as u64,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let mut cases = Vec::new();
    for (shape, scale, accumulate, parallel, max_groups) in [
        ([1, 1], 1.0, false, 16, 65_535),
        ([300, 3], 1.0, false, 16, 65_535),
        ([67, 37], 0.25, true, 16, 2),
        ([5, 132], 1.0, false, 16, 2),
        ([33, 257], 1.0, true, 1, 65_535),
    ] {
        let [rows, cols]: [usize; 2] = shape;
        let caps = Caps {
            max_groups,
            parallel,
            ..Caps::default()
        };
        let binds = Binds {
            x: Arg(0),
            y: Arg(1),
        };
        cases.push(Case {
            name: format!("{shape:?}"),
            dispatch: dispatch(shape, scale, accumulate, binds, &caps),
            arrays: vec![
                Array::F32(noise(1, rows * cols)),
                if accumulate {
                    Array::ChangedF32(noise(2, cols))
                } else {
                    Array::OutAs(DType::F32, cols)
                },
            ],
        });
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let cols = p.cols as usize;
    let sum = |c: usize| {
        let sum: R = arrays[0].iter().skip(c).step_by(cols).copied().sum();
        let scaled = sum * R::of(f64::from(p.scale));
        if case.variant().bool("ACCUMULATE") {
            scaled + arrays[1][c]
        } else {
            scaled
        }
    };
    vec![(0..cols).map(sum).collect()]
}
