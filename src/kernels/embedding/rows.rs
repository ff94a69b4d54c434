//! Rows of a dense f32 table by their numbers: token embeddings in training, and the rows that a loss reads.
//!
//! Ceilings: each row is read and written once: bound by bandwidth.

use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "embedding/rows.wgsl",
    params { rows: u32, width4: u32, n: u32 },
    binds { ids: Read, table: Read, y: Write },
}

/// One dispatch: y f32 `[rows, width]` of ids u32 `[rows]` and table f32 `[n, width]`; ids at and beyond n become the
/// last. `width` is a multiple of 4.
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
        grid: fold_grid((len / 4).div_ceil(64) as u64, caps),
        category: Category::Elementwise,
        cost: Cost {
            read_bytes: 4 * (rows + len) as u64,
            write_bytes: 4 * len as u64,
            macs: 0,
        },
    }
}

/// Numbers of rows that repeat, with some beyond the table.
pub(super) fn some_ids(rows: usize, n: usize) -> Vec<u32> {
    (0..rows)
        .map(|i| match i % 11 {
            7 => u32::MAX,
            i if i % 3 == 0 => (n / 2) as u32,
            _ => (i * i * 5 % n) as u32,
        })
        .collect()
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let binds = Binds {
        ids: Arg(0),
        table: Arg(1),
        y: Arg(2),
    };
    let mut cases = Vec::new();
    for (rows, table, max_groups) in [
        (1, [1, 4], 65_535),
        (23, [9, 20], 3),
        (12, [50, 132], 65_535),
    ] {
        let [n, width] = table;
        let caps = Caps {
            max_groups,
            ..Caps::default()
        };
        cases.push(Case {
            name: format!("{rows} of {table:?}"),
            dispatch: dispatch(rows, table, binds, &caps),
            arrays: vec![
                Array::U32(some_ids(rows, n)),
                Array::F32(noise(1, n * width)),
                Array::OutAs(DType::F32, rows * width),
            ],
        });
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let width = 4 * p.width4 as usize;
    let row = |&id: &u32| arrays[1][id.min(p.n - 1) as usize * width..][..width].to_vec();
    vec![case.whole(0).iter().flat_map(row).collect()]
}
