//! Root-mean-square norm of rows of f32 with a gain, as Llama and T5 have it.
//!
//! Ceilings: x is read once and y written once, two multiply-adds an element. For the few rows of decoding, bound
//! by the latency of one load and one reduction.

use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "norm/rms_norm.wgsl",
    params { rows: u32, first: u32, eps: f32 },
    binds { x: Read, g: Read, y: Write },
}

fn workgroup(cols: usize, caps: &Caps) -> usize {
    let most = (caps.max_invocations.clamp(32, 256) as usize + 1).next_power_of_two() / 2;
    (cols / 4).clamp(32, most).next_power_of_two()
}

/// One dispatch: y f32 `[rows, cols]` of rows `first ..` of x f32 [_, cols], with g f32 `[cols]`. `cols` is a multiple
/// of 4.
pub fn dispatch(
    [rows, cols]: [usize; 2],
    first: usize,
    eps: f32,
    binds: Binds,
    caps: &Caps,
) -> Dispatch {
    let params = Params {
        rows: rows as u32,
        first: first as u32,
        eps,
    };
    let reduce = if caps.subgroups {
        "subgroup"
    } else {
        "workgroup"
    };
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32)
            .choose("reduce", reduce)
            .set("WG", workgroup(cols, caps))
            .set("COLS", cols),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(rows as u64, caps),
        category: Category::Reduce,
        cost: Cost {
            read_bytes: (4 * (rows + 1) * cols) as u64,
            write_bytes: (4 * rows * cols) as u64,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let mut cases = Vec::new();
    for subgroups in [false, true] {
        for (shape, first, eps, size, max_groups) in [
            ([1, 4], 0, 1e-5, 1.0, 65_535),
            ([9, 64], 0, 1e-6, 1.0, 4),
            ([3, 516], 2, 1e-5, 100.0, 65_535),
            ([2, 1100], 0, 1e-2, 0.05, 65_535),
        ] {
            let [rows, cols]: [usize; 2] = shape;
            let caps = Caps {
                max_groups,
                subgroups,
                ..Caps::default()
            };
            let binds = Binds {
                x: Arg(0),
                g: Arg(1),
                y: Arg(2),
            };
            let x = noise(1, (first + rows) * cols)
                .into_iter()
                .map(|v| v * size);
            cases.push(Case {
                name: format!("{shape:?} from {first}"),
                dispatch: dispatch(shape, first, eps, binds, &caps),
                arrays: vec![
                    Array::F32(x.collect()),
                    Array::F32(noise(2, cols)),
                    Array::OutAs(DType::F32, rows * cols),
                ],
            });
        }
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let cols = case.variant().u32("COLS") as usize;
    let mut y = Vec::new();
    for row in arrays[0].chunks(cols).skip(p.first as usize) {
        let mean = row.iter().map(|&v| v * v).sum::<R>() / R::of(cols as f64);
        let scale = R::of(1.0 / (mean.f64() + f64::from(p.eps)).sqrt());
        y.extend(row.iter().zip(&arrays[1]).map(|(&v, &g)| v * scale * g));
    }
    vec![y]
}
