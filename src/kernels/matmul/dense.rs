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
        }
    }

    /// What any kernel of it does at least.
    pub(super) fn cost(&self) -> Cost {
        Cost {
            read_bytes: 4 * (self.m * self.k + self.k * self.n) as u64,
            write_bytes: 4 * (self.m * self.n) as u64,
            macs: (self.m * self.n * self.k) as u64,
        }
    }

    /// A case of a kernel that takes the bindings in the order a, b, y and leaves y in so many slices.
    pub(super) fn case(&self, dispatch: Dispatch, slices: usize) -> Case {
        Case {
            name: format!("{}x{}x{}", self.m, self.n, self.k),
            dispatch,
            arrays: vec![
                Array::F32(noise(1, self.m * self.k)),
                Array::F32(noise(2, self.k * self.n)),
                Array::OutAs(DType::F32, slices * self.m * self.n),
            ],
        }
    }
}

/// The least depth of a slice: what is saved by more workgroups is lost by adding up their sums.
const SLICE: usize = 512;

/// Slices of the depth with which tiles make as many workgroups as are enough, where it is so deep: the gradient of a
/// small weight over many rows has few tiles.
pub(super) fn slices(p: &Product, tiles: usize, enough: usize) -> usize {
    (enough / tiles).min(p.k / SLICE).max(1)
}

/// How a product is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows and columns of a workgroup: 64, 32 or 16.
    pub side: usize,
    /// Of the depth; y comes in as many parts, whose sum it is.
    pub slices: usize,
}

impl Tile {
    fn groups(&self, p: &Product) -> usize {
        p.m.div_ceil(self.side) * p.n.div_ceil(self.side) * self.slices
    }
}

/// The largest tile, in the fewest slices, that keeps such an adapter busy.
pub fn choose(p: &Product, caps: &Caps) -> Tile {
    let enough = 2 * caps.parallel as usize;
    let of = |side: usize| Tile {
        side,
        slices: slices(p, p.m.div_ceil(side) * p.n.div_ceil(side), enough),
    };
    // Whole slices may leave a part of them idle.
    let busy = |t: &Tile| 4 * t.groups(p) >= 3 * enough;
    [64, 32].map(of).into_iter().find(busy).unwrap_or(of(16))
}

/// One dispatch of the product in such tiles: y f32 `[slices, m, n]`.
pub fn dispatch(p: Product, tile: Tile, binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        m: p.m as u32,
        n: p.n as u32,
        k: p.k as u32,
    };
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32)
            .set("TILE", tile.side)
            .set("A_TURNED", p.a_turned)
            .set("B_TURNED", p.b_turned)
            .set("SLICES", tile.slices),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(tile.groups(&p) as u64, caps),
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
    let sliced = [
        (Product::backward_w(130, [36, 68]), 3),
        (Product::forward(7, [20, 1030]), 2),
    ];
    let sliced = sliced.map(|(p, slices)| (p, Tile { side: 32, slices }, Caps::default()));
    (examples().into_iter())
        .map(|(p, caps)| (p, choose(&p, &caps), caps))
        .chain(sliced)
        .map(|(p, tile, caps)| p.case(dispatch(p, tile, Binds { a, b, y }, &caps), tile.slices))
        .collect()
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let v = case.variant();
    reference_in(
        case,
        arrays,
        v.u32("SLICES") as usize,
        1024 / v.u32("TILE") as usize,
    )
}

/// In slices of a depth that is a multiple of `step`.
pub(super) fn reference_in<R: Real>(
    case: &Case,
    arrays: &[Vec<R>],
    slices: usize,
    step: usize,
) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let (m, n, k) = (p.m as usize, p.n as usize, p.k as usize);
    let v = case.variant();
    let (a_turned, b_turned) = (v.bool("A_TURNED"), v.bool("B_TURNED"));
    let deep = k.div_ceil(step * slices) * step;
    let mut y = Vec::new();
    for slice in 0..slices {
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let mut sum = R::zero();
            for l in k.min(slice * deep)..k.min((slice + 1) * deep) {
                let a = arrays[0][if a_turned { l * m + i } else { i * k + l }];
                let b = arrays[1][if b_turned { j * k + l } else { l * n + j }];
                sum += a * b;
            }
            y.push(sum);
        }
    }
    vec![y]
}
