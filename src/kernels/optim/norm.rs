//! Sums of squares of one gradient, in parts: `optim/clip` adds those of all of them.
//!
//! Ceilings: g is read once: bound by bandwidth.

use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "optim/norm.wgsl",
    params { n: u32, first: u32 },
    binds { g: Read, parts: Write },
}

/// Elements of a part.
const PART: usize = 256 * 32;

/// Parts of a gradient of `n` elements.
pub const fn parts(n: usize) -> usize {
    n.div_ceil(PART)
}

/// One dispatch: of g f32 `[n]`, parts f32 `first .. first + parts(n)`; others stay as they are.
pub fn dispatch(n: usize, first: usize, binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        n: n as u32,
        first: first as u32,
    };
    let reduce = if caps.subgroups {
        "subgroup"
    } else {
        "workgroup"
    };
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32).choose("reduce", reduce),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(parts(n) as u64, caps),
        category: Category::Reduce,
        cost: Cost {
            read_bytes: 4 * n as u64,
            write_bytes: 4 * parts(n) as u64,
            macs: n as u64,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let binds = Binds {
        g: Arg(0),
        parts: Arg(1),
    };
    let mut cases = Vec::new();
    for (n, first, after, subgroups, max_groups) in [
        (1, 0, 0, false, 65_535),
        (PART, 2, 1, true, 65_535),
        (3 * PART + 77, 1, 2, false, 2),
    ] {
        let caps = Caps {
            max_groups,
            subgroups,
            ..Caps::default()
        };
        cases.push(Case {
            name: format!("{n} from {first}"),
            dispatch: dispatch(n, first, binds, &caps),
            arrays: vec![
                Array::F32(noise(1, n)),
                Array::OutAs(DType::F32, first + parts(n) + after),
            ],
        });
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let mut y = vec![R::of(f64::NAN); case.arrays[1].len()];
    for (part, g) in y[p.first as usize..].iter_mut().zip(arrays[0].chunks(PART)) {
        *part = g.iter().map(|&v| v * v).sum();
    }
    vec![y]
}
