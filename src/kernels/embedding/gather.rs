//! Token embeddings: rows of a packed table, by the ids that stand in the history.
//!
//! The table is packed as matmul kernels take it, since it may be the output head too. Ceilings: m rows are read and
//! written once: bound by latency.

use crate::kernel;
use crate::kernels::matmul::pack::{self, Packing};
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::{DType, Format};

kernel! {
    "embedding/gather.wgsl",
    params { m: u32, k: u32, vocabulary: u32, first: u32, n: u32 },
    binds { history: Read, start: Read, w: Read, scales: Read, y: Write },
}

/// A table's part, and where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    pub format: Format,
    /// Columns, a multiple of 4.
    pub width: usize,
    /// Rows of the whole table: ids at and beyond it become its last.
    pub vocabulary: usize,
    /// The ids whose rows this part holds.
    pub first: usize,
    pub rows: usize,
}

/// One dispatch over y f32 [m, width]: the rows whose ids, `history` u32 from the position in `start` u32 [1] on, are
/// in the part; other rows stay as they are. `w` and `scales` are as [`pack`] makes them (without scales: w twice).
pub fn dispatch(m: usize, table: &Table, binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        m: m as u32,
        k: table.width as u32,
        vocabulary: table.vocabulary as u32,
        first: table.first as u32,
        n: table.rows as u32,
    };
    let pieces = (m * table.width.div_ceil(pack::DEEP) * 8) as u64;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32).choose("weight", table.format.name()),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(pieces.div_ceil(64), caps),
        category: Category::Elementwise,
        cost: Cost {
            read_bytes: (m * table.format.bytes(table.width)) as u64,
            write_bytes: 4 * (m * table.width) as u64,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let binds = Binds {
        history: Arg(0),
        start: Arg(1),
        w: Arg(2),
        scales: Arg(3),
        y: Arg(4),
    };
    let words = |bytes: Vec<u8>| -> Vec<u32> { bytemuck::pod_collect_to_vec(&bytes) };
    let mut cases = Vec::new();
    for format in [Format::F32, Format::F16, Format::Q8_0, Format::Q4_0] {
        for (m, width, vocabulary, first, rows, max_groups) in [
            (1, 64, 5, 0, 5, 65_535),
            (9, 100, 37, 0, 37, 2),
            (7, 132, 50, 16, 19, 65_535), // the middle part of three
        ] {
            let table = Table {
                format,
                width,
                vocabulary,
                first,
                rows,
            };
            let caps = Caps {
                max_groups,
                ..Caps::default()
            };
            let (packing, values) = (Packing::of(format), noise(1, rows * width));
            let w = words((packing.w)(&values, [rows, width]));
            let scales = packing.scales.map(|s| words(s(&values, [rows, width])));
            // One of them beyond every vocabulary.
            let ids = [3, 2, 36, 16, 34, 17, 49, 35, 15, 1000, 20, 4];
            cases.push(Case {
                name: format!("{m} of {vocabulary} × {width} from {first}"),
                dispatch: dispatch(m, &table, binds, &caps),
                arrays: vec![
                    Array::U32(ids.to_vec()),
                    Array::U32(vec![3]),
                    Array::U32(w),
                    Array::U32(scales.unwrap_or(vec![0; 4])),
                    Array::OutAs(DType::F32, m * width),
                ],
            });
        }
    }
    cases
}

fn reference<R: Real>(case: &Case, _: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let formats = [Format::F32, Format::F16, Format::Q8_0, Format::Q4_0];
    let choice = case.variant().choice("weight");
    let format = formats.into_iter().find(|f| f.name() == choice);
    let format = format.unwrap_or(Format::F32);
    let (history, w, scales) = (case.whole(0), case.whole(2), case.whole(3));
    let mut y = Vec::new();
    for i in 0..p.m as usize {
        let id = history[case.whole(1)[0] as usize + i].min(p.vocabulary - 1);
        for k in 0..p.k as usize {
            let row = id.checked_sub(p.first).filter(|&n| n < p.n);
            y.push(R::of(row.map_or(f64::NAN, |n| {
                let at = [n as usize, k];
                f64::from(pack::value(format, w, scales, p.k as usize, at))
            })));
        }
    }
    vec![y]
}
