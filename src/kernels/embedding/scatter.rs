//! The gradient of rows taken from a table: what `embedding/rows` took is added where it came from.
//!
//! No atomics on numbers: each row of the table adds up all that name it, those that nobody names none.
//! Ceilings: every workgroup reads all ids from cache, n · rows of them, 256 at a time; a row of the table that many
//! rows name waits for each of them in turn, `DOWN` at once.

use super::rows::some_ids;
use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "embedding/scatter.wgsl",
    params { rows: u32, width4: u32, n: u32 },
    binds { ids: Read, dy: Read, dtable: Write },
}

/// One dispatch: each row of dtable f32 `[n, width]` is the sum of those rows of dy f32 `[rows, width]` whose ids u32
/// `[rows]` name it; ids at and beyond n name the last. `width` is a multiple of 4.
pub fn dispatch(rows: usize, [n, width]: [usize; 2], binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        rows: rows as u32,
        width4: (width / 4) as u32,
        n: n as u32,
    };
    let across = (width / 4).next_power_of_two().clamp(8, 256);
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32).set("ACROSS", across),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid((n * (width / 4).div_ceil(across)) as u64, caps),
        category: Category::Reduce,
        cost: Cost {
            read_bytes: 4 * (rows + rows * width) as u64,
            write_bytes: 4 * (n * width) as u64,
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
        (8300, [3, 8], 65_535),
        (20, [2, 1028], 2),
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
                Array::OutAs(DType::F32, n * width),
            ],
        });
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let width = 4 * p.width4 as usize;
    let mut dtable = vec![R::zero(); p.n as usize * width];
    for (&id, dy) in case.whole(0).iter().zip(arrays[1].chunks(width)) {
        let to = &mut dtable[id.min(p.n - 1) as usize * width..][..width];
        to.iter_mut().zip(dy).for_each(|(to, &v)| *to += v);
    }
    vec![dtable]
}
