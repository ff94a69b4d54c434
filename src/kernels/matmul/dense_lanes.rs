//! Products of dense f32 matrices where subgroups are the lanes of a processor.
//!
//! Ceilings: a step of 8 of the depth loads 16 numbers of each operand a lane for 256 multiply-adds, and each load is one
//! for each lane there: bound by those. Products of a small draft's training on lavapipe with two threads: 0.15 G
//! multiply-adds a second in `dense`, 1.6 here.

use super::dense::{self, Product, reference_in};
use super::skinny::rows_read;
use crate::kernel;
use crate::shader::{Arg, Caps, Case, Category, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "matmul/dense_lanes.wgsl",
    params { m: u32, n: u32, k: u32 },
    binds { a: Read, b: Read, y: Write },
}

/// One dispatch of the product, on subgroups of `lanes` ([`Caps::lanes`]).
pub fn dispatch(p: Product, binds: Binds, lanes: u32, caps: &Caps) -> Dispatch {
    let params = Params {
        m: p.m as u32,
        n: p.n as u32,
        k: p.k as u32,
    };
    // Of a workgroup: no more than there are.
    let rows = rows_read(p.m);
    let groups = p.m.div_ceil(rows) * p.n.div_ceil(2 * lanes as usize);
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32)
            .set("WG", lanes)
            .set("LANES", lanes)
            .set("ROWS", rows)
            .set("A_TURNED", p.a_turned)
            .set("B_TURNED", p.b_turned),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(groups as u64, caps),
        category: Category::Matmul,
        cost: p.cost(),
    }
}

fn cases() -> Vec<Case> {
    let [a, b, y] = [0, 1, 2].map(Arg);
    (dense::examples().iter().enumerate())
        .map(|(i, (p, caps))| {
            let lanes = [8, 4][i / 3 % 2];
            p.case(dispatch(*p, Binds { a, b, y }, lanes, caps), 1)
        })
        .collect()
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    vec![reference_in(case, [p.m, p.n, p.k], arrays, 1, 1)]
}
