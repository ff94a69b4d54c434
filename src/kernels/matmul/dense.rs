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
use std::ops::Range;

kernel! {
    "matmul/dense.wgsl",
    params { m: u32, n: u32, k: u32, first: u32, end: u32 },
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
        self.cost_of(1, 1)
    }

    /// Of `part` workgroups of `all`.
    pub(super) fn cost_of(&self, part: usize, all: usize) -> Cost {
        let share = |n: usize| (n as u128 * part as u128 / all.max(1) as u128) as u64;
        Cost {
            read_bytes: share(4 * (self.m * self.k + self.k * self.n)),
            write_bytes: share(4 * self.m * self.n),
            macs: share(self.m * self.n * self.k),
        }
    }

    /// m, n, k, and which of its workgroups a dispatch has.
    pub(super) fn words(&self, groups: &Range<usize>) -> [u32; 5] {
        [self.m, self.n, self.k, groups.start, groups.end].map(|v| v as u32)
    }

    /// Dispatches of at most `most` multiply-adds.
    pub(super) fn parts(&self, most: usize) -> usize {
        (self.m * self.n * self.k).div_ceil(most).max(1)
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

/// Slices of the depth with which tiles make as many workgroups as are enough for each of `parts` dispatches, where it is
/// so deep: the gradient of a small weight over many rows has few tiles, and so has that of what a large head reads.
pub(super) fn slices(p: &Product, tiles: usize, enough: usize, parts: usize) -> usize {
    (enough * parts / tiles).clamp(1, (p.k / SLICE).max(1))
}

/// `groups` workgroups in so many dispatches: between two of them other work of the device can come.
pub(super) fn cut(groups: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = parts.min(groups);
    (0..parts).map(move |i| i * groups / parts..(i + 1) * groups / parts)
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
    /// Workgroups of a product.
    pub fn groups(&self, p: &Product) -> usize {
        p.m.div_ceil(self.side) * p.n.div_ceil(self.side) * self.slices
    }
}

/// Multiply-adds of a dispatch, at most: 0.8 ms at 24 TFLOP/s. The product of a thousand rows with a head of 32,000 and 768
/// features takes three.
const MOST: usize = 10_000_000_000;

/// The largest tile, in the fewest slices, that keeps such an adapter busy.
pub fn choose(p: &Product, caps: &Caps) -> Tile {
    let (enough, parts) = (2 * caps.parallel as usize, p.parts(MOST));
    let of = |side: usize| Tile {
        side,
        slices: slices(p, p.m.div_ceil(side) * p.n.div_ceil(side), enough, parts),
    };
    // Whole slices may leave a part of them idle.
    let busy = |t: &Tile| 4 * t.groups(p) >= 3 * enough;
    [64, 32].map(of).into_iter().find(busy).unwrap_or(of(16))
}

/// The product in such tiles, y f32 `[slices, m, n]`: one dispatch, or several that follow one another where one would take
/// long.
pub fn dispatches(p: Product, tile: Tile, binds: Binds, caps: &Caps) -> Vec<Dispatch> {
    let parts = cut(tile.groups(&p), p.parts(MOST));
    parts.map(|g| dispatch(p, tile, g, binds, caps)).collect()
}

/// Some of its [`Tile::groups`].
pub fn dispatch(
    p: Product,
    tile: Tile,
    groups: Range<usize>,
    binds: Binds,
    caps: &Caps,
) -> Dispatch {
    let [m, n, k, first, end] = p.words(&groups);
    let params = Params {
        m,
        n,
        k,
        first,
        end,
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
        grid: fold_grid(groups.len() as u64, caps),
        category: Category::Matmul,
        cost: p.cost_of(groups.len(), tile.groups(&p)),
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
    let mut cases: Vec<Case> = (examples().into_iter())
        .map(|(p, caps)| (p, choose(&p, &caps), caps))
        .chain(sliced)
        .map(|(p, tile, caps)| {
            let d = dispatch(p, tile, 0..tile.groups(&p), Binds { a, b, y }, &caps);
            p.case(d, tile.slices)
        })
        .collect();
    // A part of 2 slices of 4 tiles by 3.
    let p = Product::forward(50, [40, 70]);
    let tile = Tile {
        side: 16,
        slices: 2,
    };
    let caps = Caps {
        max_groups: 4,
        ..Caps::default()
    };
    let d = dispatch(p, tile, 7..18, Binds { a, b, y }, &caps);
    cases.push(p.case(d, tile.slices));
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let (p, v): (Params, _) = (case.params(), case.variant());
    let (side, slices) = (v.u32("TILE"), v.u32("SLICES") as usize);
    let sizes = [p.m, p.n, p.k];
    let mut y = reference_in(case, sizes, arrays, slices, 1024 / side as usize);
    let across = p.n.div_ceil(side);
    let groups = p.m.div_ceil(side) * across;
    keep(&mut y, sizes, p.first..p.end, |slice, i, j| {
        slice * groups + i / side * across + j / side
    });
    vec![y]
}

/// Leaves of y what `group`, of slice, row and column, says is of the part of the workgroups that there are.
pub(super) fn keep<R: Real>(
    y: &mut [R],
    [m, n, _]: [u32; 3],
    part: Range<u32>,
    group: impl Fn(u32, u32, u32) -> u32,
) {
    for (at, v) in (0..).zip(y) {
        let (slice, i, j) = (at / (m * n), at / n % m, at % n);
        if !part.contains(&group(slice, i, j)) {
            *v = R::of(f64::NAN);
        }
    }
}

/// Of sizes m, n, k, in slices of a depth that is a multiple of `step`.
pub(super) fn reference_in<R: Real>(
    case: &Case,
    sizes: [u32; 3],
    arrays: &[Vec<R>],
    slices: usize,
    step: usize,
) -> Vec<R> {
    let [m, n, k] = sizes.map(|v| v as usize);
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
    y
}
