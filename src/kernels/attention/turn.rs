//! Rotary position embedding of whole sequences, and its inverse, which is its gradient too.
//!
//! Ceilings: each element is read and written once: bound by bandwidth.

use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "attention/turn.wgsl",
    params { rows: u32, len: u32, heads: u32, dim4: u32, positions: u32, sign: f32 },
    binds { x: Read, rotary: Read, y: Write },
}

/// What is turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// All rows of all sequences.
    pub rows: usize,
    /// Rows of a sequence: row r stands at position r % len.
    pub len: usize,
    pub heads: usize,
    /// A multiple of 4.
    pub head_dim: usize,
    /// Rows of the table; the last of them serves all later positions.
    pub positions: usize,
}

/// One dispatch over x, y f32 `[rows, heads, head_dim]` with the table rotary f32 `[positions, head_dim / 2, 2]` of (cos,
/// sin) that turns pairs of neighbours; `inverse` turns them back.
pub fn dispatch(s: Shape, inverse: bool, binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        rows: s.rows as u32,
        len: s.len as u32,
        heads: s.heads as u32,
        dim4: (s.head_dim / 4) as u32,
        positions: s.positions as u32,
        sign: if inverse { -1.0 } else { 1.0 },
    };
    let len = s.rows * s.heads * s.head_dim;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid((len / 4).div_ceil(64) as u64, caps),
        category: Category::Elementwise,
        cost: Cost {
            read_bytes: 4 * (len + s.positions.min(s.len) * s.head_dim) as u64,
            write_bytes: 4 * len as u64,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let binds = Binds {
        x: Arg(0),
        rotary: Arg(1),
        y: Arg(2),
    };
    let mut cases = Vec::new();
    for (sizes, inverse, max_groups) in [
        ([1, 1, 1, 4, 1], false, 65_535),
        ([14, 7, 3, 20, 7], true, 2),
        ([33, 11, 2, 64, 8], false, 65_535), // positions beyond the table
    ] {
        let [rows, len, heads, head_dim, positions] = sizes;
        let s = Shape {
            rows,
            len,
            heads,
            head_dim,
            positions,
        };
        let caps = Caps {
            max_groups,
            ..Caps::default()
        };
        cases.push(Case {
            name: format!("{sizes:?}"),
            dispatch: dispatch(s, inverse, binds, &caps),
            arrays: vec![
                Array::F32(noise(1, rows * heads * head_dim)),
                Array::F32(noise(2, positions * head_dim)),
                Array::OutAs(DType::F32, rows * heads * head_dim),
            ],
        });
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let (dim, sign) = (4 * p.dim4 as usize, R::of(f64::from(p.sign)));
    let mut y = Vec::new();
    for (r, head) in arrays[0].chunks(dim).enumerate() {
        let position = (r / p.heads as usize % p.len as usize).min(p.positions as usize - 1);
        let turns = arrays[1][position * dim..][..dim].chunks(2);
        for (pair, turn) in head.chunks(2).zip(turns) {
            let (x, z, c, s) = (pair[0], pair[1], turn[0], sign * turn[1]);
            y.extend([x * c - z * s, x * s + z * c]);
        }
    }
    vec![y]
}
