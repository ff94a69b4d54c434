//! Gradients of the root-mean-square norm: of its input, and of its gain in parts that `reduce/columns` adds, in the
//! same order whenever it runs.
//!
//! Ceilings: x and dy are read once and dx is written once: bound by bandwidth, for few rows by two reductions a row.

use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "norm/rms_norm_bwd.wgsl",
    params { rows: u32, strip: u32, eps: f32 },
    binds { x: Read, g: Read, dy: Read, dx: Write, parts: Write },
}

fn workgroup(cols: usize, caps: &Caps) -> usize {
    let most = (caps.max_invocations.clamp(32, 256) as usize + 1).next_power_of_two() / 2;
    (cols / 4).clamp(32, most).next_power_of_two()
}

fn strip(rows: usize, caps: &Caps) -> usize {
    rows.div_ceil(4 * caps.parallel as usize).max(1)
}

/// Rows of `parts`: dg `[cols]` is the sum of their columns.
pub fn parts(rows: usize, caps: &Caps) -> usize {
    rows.div_ceil(strip(rows, caps))
}

/// One dispatch over x, dy and dx f32 `[rows, cols]`, g f32 `[cols]` and `parts` f32 `[parts(rows), cols]`. `cols` is
/// a multiple of 4.
pub fn dispatch([rows, cols]: [usize; 2], eps: f32, binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        rows: rows as u32,
        strip: strip(rows, caps) as u32,
        eps,
    };
    let reduce = if caps.subgroups {
        "subgroup"
    } else {
        "workgroup"
    };
    let parts = parts(rows, caps);
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32)
            .choose("reduce", reduce)
            .set("WG", workgroup(cols, caps))
            .set("COLS", cols),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(parts as u64, caps),
        category: Category::Reduce,
        cost: Cost {
            read_bytes: 4 * ((2 * rows + 1) * cols) as u64,
            write_bytes: 4 * ((rows + parts) * cols) as u64,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let binds = Binds {
        x: Arg(0),
        g: Arg(1),
        dy: Arg(2),
        dx: Arg(3),
        parts: Arg(4),
    };
    let mut cases = Vec::new();
    for subgroups in [false, true] {
        for (shape, eps, size, parallel, max_groups) in [
            ([1, 4], 1e-5, 1.0, 16, 65_535),
            ([9, 64], 1e-6, 1.0, 1, 2),
            ([37, 132], 1e-5, 100.0, 2, 65_535),
            ([3, 1100], 1e-2, 0.05, 16, 65_535),
        ] {
            let [rows, cols]: [usize; 2] = shape;
            let caps = Caps {
                max_groups,
                parallel,
                subgroups,
                ..Caps::default()
            };
            let x = noise(1, rows * cols).into_iter().map(|v| v * size);
            cases.push(Case {
                name: format!("{shape:?}"),
                dispatch: dispatch(shape, eps, binds, &caps),
                arrays: vec![
                    Array::F32(x.collect()),
                    Array::F32(noise(2, cols)),
                    Array::F32(noise(3, rows * cols)),
                    Array::OutAs(DType::F32, rows * cols),
                    Array::OutAs(DType::F32, parts(rows, &caps) * cols),
                ],
            });
        }
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let cols = case.variant().u32("COLS") as usize;
    let strip = p.strip as usize;
    let (x, g, dy) = (&arrays[0], &arrays[1], &arrays[2]);
    let mut dx = Vec::new();
    let mut parts = vec![R::zero(); case.arrays[4].len()];
    for r in 0..p.rows as usize {
        let at = |c: usize| r * cols + c;
        let mean = (0..cols).map(|c| x[at(c)] * x[at(c)]).sum::<R>() / R::of(cols as f64);
        let scale = R::of(1.0) / (mean + R::of(f64::from(p.eps))).sqrt();
        let product: R = (0..cols).map(|c| x[at(c)] * g[c] * dy[at(c)]).sum();
        let share = scale * scale * product / R::of(cols as f64);
        for c in 0..cols {
            dx.push(scale * (g[c] * dy[at(c)] - x[at(c)] * share));
            parts[r / strip * cols + c] += dy[at(c)] * x[at(c)] * scale;
        }
    }
    vec![dx, parts]
}
