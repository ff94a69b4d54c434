//! The gradient of rows taken from a table: what `embedding/rows` took is added where it came from.
//!
//! No atomics: the first row that names a row of the table adds up all that do. Rows that nobody names are not
//! touched: the gradient of a head that shares the table may be there already, else `elementwise/fill` makes it 0.
//! Ceilings: every workgroup reads all ids, so rows² of them, from cache; bound by that for thousands of rows.

use super::rows::some_ids;
use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "embedding/scatter.wgsl",
    params { rows: u32, width4: u32, n: u32 },
    binds { ids: Read, dy: Read, dtable: Write },
}

/// One dispatch: rows of dy f32 `[rows, width]` are added to those of dtable f32 `[n, width]` that ids u32 `[rows]` name;
/// ids at and beyond n name the last. `width` is a multiple of 4. dtable must hold something.
pub fn dispatch(rows: usize, [n, width]: [usize; 2], binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        rows: rows as u32,
        width4: (width / 4) as u32,
        n: n as u32,
    };
    let len = rows * width;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid((rows * (width / 4).div_ceil(64)) as u64, caps),
        category: Category::Reduce,
        cost: Cost {
            read_bytes: 4 * (rows + len + rows.min(n) * width) as u64,
            write_bytes: 4 * (rows.min(n) * width) as u64,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let binds = Binds {
        ids: Arg(0),
        dy: Arg(1),
        dtable: Arg(2),
    };
    let mut cases = Vec::new();
    for (rows, table, max_groups) in [
        (1, [1, 4], 65_535),
        (150, [9, 20], 3),
        (70, [50, 260], 65_535),
    ] {
        let [n, width] = table;
        let caps = Caps {
            max_groups,
            ..Caps::default()
        };
        cases.push(Case {
            name: format!("{rows} to {table:?}"),
            dispatch: dispatch(rows, table, binds, &caps),
            arrays: vec![
                Array::U32(some_ids(rows, n)),
                Array::F32(noise(1, rows * width)),
                Array::ChangedF32(noise(2, n * width)),
            ],
        });
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let width = 4 * p.width4 as usize;
    let mut dtable = arrays[2].clone();
    for (&id, dy) in case.whole(0).iter().zip(arrays[1].chunks(width)) {
        let to = &mut dtable[id.min(p.n - 1) as usize * width..][..width];
        to.iter_mut().zip(dy).for_each(|(to, &v)| *to += v);
    }
    vec![dtable]
}
