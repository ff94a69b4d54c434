//! Products of dense f32 matrices on matrix units: operands are rounded to f16 on their way to them, sums are f32.
//!
//! Ceilings: a tile of 128 × 128 reads 1 KiB from the cache for each 128 · 128 multiply-adds of depth: 16 a byte, so
//! 180 TFLOP/s ask 5.6 TB/s of it. Of workgroup memory a subgroup reads 8 matrices for 16 products, or 6 for 8. Measured
//! on an H100 with 2048 rows: 90 to 173 TFLOP/s for weights of a draft's layers, 187 for a head of 32,000 forward; with
//! about a hundred tiles the last of them leave most of the adapter idle.

use super::dense::{Product, cut, keep, reference_in, slices};
use crate::kernel;
use crate::shader::{Caps, Case, Category, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;
use std::ops::Range;

kernel! {
    "matmul/dense_coop.wgsl",
    params { m: u32, n: u32, k: u32, first: u32, end: u32 },
    binds { a: Read, b: Read, y: Write },
}

/// How a product is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows and columns of a workgroup.
    pub rows: usize,
    pub columns: usize,
    /// Depth at a time.
    pub depth: usize,
    /// Its subgroups along rows and columns.
    pub teams: [usize; 2],
    /// Of the depth; y comes in as many parts, whose sum it is.
    pub slices: usize,
}

impl Tile {
    const fn new(rows: usize, columns: usize, depth: usize, teams: [usize; 2]) -> Self {
        Self {
            rows,
            columns,
            depth,
            teams,
            slices: 1,
        }
    }

    /// The bytes of workgroup memory that it takes.
    pub fn bytes(&self, p: &Product) -> usize {
        let tile = |side: usize, deep: bool| match deep {
            true => side * (self.depth + 8) * 2,
            false => self.depth * (side + 8) * 2,
        };
        tile(self.rows, !p.a_turned)
            + tile(self.columns, p.b_turned)
            + self.teams[0] * self.teams[1] * 1024
    }

    /// Workgroups of a product.
    pub fn groups(&self, p: &Product) -> usize {
        p.m.div_ceil(self.rows) * p.n.div_ceil(self.columns) * self.slices
    }

    /// In so many slices that there are about as many workgroups as are enough.
    fn sliced(self, p: &Product, enough: usize) -> Self {
        let slices = slices(p, self.groups(p), enough, p.parts(MOST));
        Self { slices, ..self }
    }
}

/// Few subgroups of four by four matrices each: the fewest reads of workgroup memory.
const WIDE: Tile = Tile::new(128, 128, 32, [2, 2]);
/// More subgroups, and more of the depth on its way at a time: for few tiles.
const DEEP: Tile = Tile::new(128, 128, 64, [4, 2]);
/// For fewer still.
const SMALL: Tile = Tile::new(64, 64, 32, [2, 2]);

/// Multiply-adds of a dispatch, at most: 0.2 ms at 140 TFLOP/s. The product of a thousand rows with a head of 32,000 and 768
/// features takes two.
const MOST: usize = 14_000_000_000;

/// The tile for a product on such an adapter; `None` where it has no matrix units or rows are no multiple of 4. What was
/// fastest of nine on an H100, for the products of a draft of 160M parameters.
pub fn choose(p: &Product, caps: &Caps) -> Option<Tile> {
    let stored = [
        p.n,
        if p.a_turned { p.m } else { p.k },
        if p.b_turned { p.k } else { p.n },
    ];
    if !caps.matrix_units(DType::F16) || stored.iter().any(|n| !n.is_multiple_of(4)) {
        return None;
    }
    let parallel = caps.parallel as usize;
    let wide = WIDE.sliced(p, parallel);
    let small = SMALL.sliced(p, 2 * parallel);
    let best = match p.a_turned || p.parts(MOST) > 1 || wide.groups(p) >= 4 * parallel {
        _ if 4 * wide.groups(p) <= 3 * parallel => [small, small, small],
        true => [wide, small, small],
        false => [DEEP, WIDE, small],
    };
    let fit = |t: &Tile| t.bytes(p) <= caps.max_workgroup_bytes as usize;
    best.into_iter().find(fit)
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
        variant: Variant::new(DType::F16)
            .set("BM", tile.rows)
            .set("BN", tile.columns)
            .set("BK", tile.depth)
            .set("TEAMS_M", tile.teams[0])
            .set("TEAMS_N", tile.teams[1])
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

fn cases() -> Vec<Case> {
    use crate::kernels::matmul::linear::with_matrix_units;
    use crate::shader::Arg;
    let binds = Binds {
        a: Arg(0),
        b: Arg(1),
        y: Arg(2),
    };
    let mut cases = Vec::new();
    let small = [
        Product::forward(68, [20, 36]),
        Product::backward_x(20, [36, 68]),
        Product::backward_w(36, [20, 68]),
    ];
    let sliced = Product::backward_w(100, [68, 4]);
    let slices = Tile { slices: 3, ..SMALL };
    let large = [
        (Product::forward(36, [132, 36]), WIDE),
        (
            Product::backward_x(36, [36, 132]),
            Tile { depth: 32, ..DEEP },
        ),
    ];
    let all = (small.map(|p| (p, SMALL)).into_iter())
        .chain([(sliced, slices)])
        .chain(large);
    for (i, (p, tile)) in all.enumerate() {
        let max_groups = if i % 2 == 1 { 2 } else { 65_535 };
        let caps = with_matrix_units(&Caps {
            max_groups,
            ..Caps::default()
        });
        let d = dispatch(p, tile, 0..tile.groups(&p), binds, &caps);
        cases.push(p.case(d, tile.slices));
    }
    // Parts: of 2 by 3 tiles along columns, of 3 by 2 along rows.
    for p in [
        Product::forward(68, [132, 36]),
        Product::forward(132, [68, 36]),
    ] {
        let caps = with_matrix_units(&Caps::default());
        cases.push(p.case(dispatch(p, SMALL, 2..5, binds, &caps), 1));
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let (p, v): (Params, _) = (case.params(), case.variant());
    let (slices, step) = (v.u32("SLICES") as usize, v.u32("BK") as usize);
    let sizes = [p.m, p.n, p.k];
    let mut y = reference_in(case, sizes, arrays, slices, step);
    let [rows, columns] = ["BM", "BN"].map(|side| v.u32(side));
    let (down, across) = (p.m.div_ceil(rows), p.n.div_ceil(columns));
    keep(&mut y, sizes, p.first..p.end, |slice, i, j| {
        let (i, j) = (i / rows, j / columns);
        slice * down * across
            + match down < across {
                true => j * down + i,
                false => i * across + j,
            }
    });
    vec![y]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::matmul::linear::with_matrix_units;

    #[test]
    fn tiles_leave_no_adapter_idle_and_fit_it() {
        let caps = Caps {
            parallel: 128,
            ..with_matrix_units(&Caps::default())
        };
        let three = Tile { slices: 3, ..WIDE };
        let five = Tile { slices: 5, ..WIDE };
        let many = Tile {
            slices: 64,
            ..SMALL
        };
        for (p, tile, of_less) in [
            (Product::forward(2048, [32_000, 768]), WIDE, WIDE),
            (Product::forward(2048, [2304, 768]), DEEP, WIDE),
            (Product::backward_w(2048, [2304, 768]), WIDE, WIDE),
            (Product::backward_x(2048, [32_000, 768]), five, five),
            (Product::backward_w(2048, [768, 768]), three, three),
            (Product::backward_w(512, [768, 768]), SMALL, SMALL),
            (Product::backward_w(32_768, [96, 96]), many, many),
        ] {
            for (kib, tile) in [(48, tile), (32, of_less)] {
                let caps = Caps {
                    max_workgroup_bytes: kib << 10,
                    ..caps.clone()
                };
                assert_eq!(choose(&p, &caps), Some(tile), "{p:?}");
                assert!(tile.bytes(&p) <= (kib as usize) << 10);
            }
        }
        assert_eq!(choose(&Product::forward(8, [30, 32]), &caps), None);
        assert_eq!(
            choose(&Product::forward(8, [32, 32]), &Caps::default()),
            None
        );
    }
}
