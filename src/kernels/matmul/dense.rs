//! Products of dense f32 matrices, as training needs them: of a linear layer forward y = x · wᵀ, and backward
//! dx = dy · w and dw = dyᵀ · x.
//!
//! Ceilings: a tile of 64 reads each operand once for every 64 rows or columns of the other, two 16-byte reads of
//! workgroup memory for 16 multiply-adds: bound by arithmetic for hundreds of rows, else by latency, which smaller
//! tiles with the depth split among the invocations hide.

use crate::kernel;
use crate::shader::{
    Arg, Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid, noise,
};
use crate::tensor::DType;

kernel! {
    "matmul/dense.wgsl",
    params { m: u32, n: u32, k: u32 },
    binds { a: Read, b: Read, y: Write },
}

/// A product y `[m, n]` = A `[m, k]` · B `[k, n]`, of any sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// A is stored `[k, m]`.
    pub a_turned: bool,
    /// B is stored `[n, k]`.
    pub b_turned: bool,
    /// The product is added to what y holds.
    pub accumulate: bool,
}

impl Product {
    /// y `[rows, n]` = x `[rows, k]` · wᵀ, w `[n, k]`: a = x, b = w.
    pub fn forward(rows: usize, [n, k]: [usize; 2]) -> Self {
        Self {
            m: rows,
            n,
            k,
            a_turned: false,
            b_turned: true,
            accumulate: false,
        }
    }

    /// dx `[rows, k]` = dy `[rows, n]` · w `[n, k]`: a = dy, b = w.
    pub fn backward_x(rows: usize, [n, k]: [usize; 2]) -> Self {
        Self {
            m: rows,
            n: k,
            k: n,
            a_turned: false,
            b_turned: false,
            accumulate: false,
        }
    }

    /// dw `[n, k]` = dyᵀ · x, dy `[rows, n]`, x `[rows, k]`: a = dy, b = x.
    pub fn backward_w(rows: usize, [n, k]: [usize; 2]) -> Self {
        Self {
            m: n,
            n: k,
            k: rows,
            a_turned: true,
            b_turned: false,
            accumulate: false,
        }
    }

    /// What any kernel of it does at least.
    pub(super) fn cost(&self) -> Cost {
        let written = self.m * self.n;
        let again = if self.accumulate { written } else { 0 };
        Cost {
            read_bytes: 4 * (self.m * self.k + self.k * self.n + again) as u64,
            write_bytes: 4 * written as u64,
            macs: (self.m * self.n * self.k) as u64,
        }
    }

    /// A case of a kernel that takes the bindings in the order a, b, y.
    pub(super) fn case(&self, dispatch: Dispatch) -> Case {
        let y = self.m * self.n;
        Case {
            name: format!("{}x{}x{}", self.m, self.n, self.k),
            dispatch,
            arrays: vec![
                Array::F32(noise(1, self.m * self.k)),
                Array::F32(noise(2, self.k * self.n)),
                if self.accumulate {
                    Array::ChangedF32(noise(3, y))
                } else {
                    Array::OutAs(DType::F32, y)
                },
            ],
        }
    }

    /// The same, added to what y holds.
    pub fn accumulated(self) -> Self {
        Self {
            accumulate: true,
            ..self
        }
    }
}

/// One dispatch of the product. With `accumulate`, y must hold something.
pub fn dispatch(p: Product, binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        m: p.m as u32,
        n: p.n as u32,
        k: p.k as u32,
    };
    let tiles = |tile: usize| p.m.div_ceil(tile) * p.n.div_ceil(tile);
    let enough = 2 * caps.parallel as usize;
    let large = [64, 32].into_iter().find(|&tile| tiles(tile) >= enough);
    let tile = large.unwrap_or(16);
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32)
            .set("TILE", tile)
            .set("A_TURNED", p.a_turned)
            .set("B_TURNED", p.b_turned)
            .set("ACCUMULATE", p.accumulate),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(tiles(tile) as u64, caps),
        category: Category::Matmul,
        cost: p.cost(),
    }
}

/// Sizes of cases, and what an adapter keeps busy with and takes at once.
pub(super) fn examples() -> Vec<(Product, Caps)> {
    let mut all = Vec::new();
    for (rows, weight, parallel, max_groups) in [
        (1, [1, 1], 16, 65_535),
        (7, [20, 12], 16, 65_535),
        (33, [65, 68], 1, 65_535),
        (70, [67, 132], 1, 3),
        (130, [36, 68], 4, 2),
    ] {
        let kinds = [
            Product::forward(rows, weight),
            Product::backward_x(rows, weight),
            Product::backward_w(rows, weight),
            Product::backward_w(rows, weight).accumulated(),
        ];
        let caps = Caps {
            max_groups,
            parallel,
            ..Caps::default()
        };
        all.extend(kinds.map(|p| (p, caps.clone())));
    }
    all
}

fn cases() -> Vec<Case> {
    let [a, b, y] = [0, 1, 2].map(Arg);
    (examples().iter())
        .map(|(p, caps)| p.case(dispatch(*p, Binds { a, b, y }, caps)))
        .collect()
}

pub(super) fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let (m, n, k) = (p.m as usize, p.n as usize, p.k as usize);
    let v = case.variant();
    let (a_turned, b_turned) = (v.bool("A_TURNED"), v.bool("B_TURNED"));
    let mut y = Vec::new();
    for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
        let mut sum = R::zero();
        for l in 0..k {
            let a = arrays[0][if a_turned { l * m + i } else { i * k + l }];
            let b = arrays[1][if b_turned { j * k + l } else { l * n + j }];
            sum += a * b;
        }
        if v.bool("ACCUMULATE") {
            sum += arrays[2][i * n + j];
        }
        y.push(sum);
    }
    vec![y]
}
