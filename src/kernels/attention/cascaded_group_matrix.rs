//! [`cascaded_group`](super::cascaded_group) on matrix units, in f16.
//!
//! Bytes and operations as there. With a window to a multiprocessor (batch 1 has one or four) the time is the chain
//! of a head: a product, a convolution, scores, a softmax and a product, each waiting for the one before. So what a
//! head needs from memory is asked for one head earlier, several subgroups share the work on the same tokens, and
//! there are six barriers to a head. With many windows the instructions count, most of them the convolution's.

use super::cascaded_group::check::reference;
use super::cascaded_group::{MAX_HEADS, Shape, cost, packed_len, packing, params};
use crate::kernel;
use crate::shader::{Arg, Array, Caps, Case, Category, Dispatch, Variant, fold_grid, noise};
use crate::tensor::DType;

kernel! {
    "attention/cascaded_group_matrix.wgsl",
    params { windows: u32, across: u32, down: u32, h: u32, w: u32, part4: u32 },
    binds { x: Read, w: Read, b: Read, y: Write },
}

/// How it is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Subgroups that share the same 16 tokens: 1, 2, 4 or 8.
    pub shares: usize,
    /// Whether the projection and the residual are in it; without, y is the heads' outputs after ReLU.
    pub project: bool,
}

/// Sixteens of a window's tokens.
fn tiles(shape: &Shape) -> usize {
    shape.tokens().div_ceil(16)
}

/// Invocations of a workgroup.
pub fn invocations(shape: &Shape, choice: &Choice) -> usize {
    32 * choice.shares * tiles(shape)
}

/// Bytes of workgroup memory of the variant.
pub fn workgroup_bytes(shape: &Shape, choice: &Choice) -> usize {
    let (n, d4, c4, t) = (
        shape.tokens(),
        shape.d / 4,
        shape.channels() / 4,
        tiles(shape),
    );
    let k = shape.kernels.into_iter().max().unwrap_or(0);
    let f4 = if choice.project { c4 } else { d4 };
    let v_at = match (choice.project, d4 >= 4 * t) {
        (true, true) => f4 + 4,
        (true, false) => (f4 + 4).max(f4 + 4 * t),
        (false, _) => (f4 + 4).max(4 * t),
    };
    let side = shape.window + k / 2 * 2;
    let subgroups = choice.shares * t;
    let spare = match t.is_multiple_of(choice.shares) {
        true => 0,
        false => subgroups * 64,
    };
    let sums = (subgroups * 144).max(16 * t * (4 * t + 2) + spare);
    let elem4 = [
        n * (v_at + d4 + 2),
        4 * side * side,
        8 + d4 + 4 * (k * k + 1),
    ];
    let halves: usize = elem4.into_iter().map(|n| 8 * n.next_multiple_of(2)).sum();
    halves + 16 * sums
}

/// Whether the kernel computes the shape this way on such an adapter.
pub fn fits(caps: &Caps, elem: DType, shape: &Shape, choice: &Choice) -> bool {
    caps.matrix_units(elem)
        && (caps.subgroups, caps.subgroup_min) == (true, 32)
        && (1..=MAX_HEADS).contains(&shape.heads)
        && shape.d.is_multiple_of(16)
        && (4..=16).contains(&shape.window)
        && [1, 2, 4, 8].contains(&choice.shares)
        && invocations(shape, choice) <= (caps.max_invocations as usize).min(256)
        && workgroup_bytes(shape, choice) <= caps.max_workgroup_bytes as usize
}

/// The way that is expected to be the fastest on such an adapter, or `None` where none fits. The projection is in it up
/// to [`MOST_PROJECTED`] channels: beyond, its weights take longer through one multiprocessor than another dispatch.
/// With few windows as many subgroups as a workgroup may have share the work of one; with many, two are enough to hide
/// the waits of each other.
pub fn choose(caps: &Caps, elem: DType, shape: &Shape) -> Option<Choice> {
    let project = match shape.channels() <= MOST_PROJECTED {
        true => [true, false],
        false => [false, true],
    };
    let shares = match shape.windows() >= 2 * caps.parallel as usize {
        true => [2, 1, 4, 8],
        false => [8, 4, 2, 1],
    };
    let ways =
        (project.into_iter()).flat_map(|project| shares.map(|shares| Choice { shares, project }));
    ways.into_iter().find(|c| fits(caps, elem, shape, c))
}

/// The most channels that a workgroup projects itself.
const MOST_PROJECTED: usize = 192;

/// One dispatch of `choice` over x of `shape`.
pub fn dispatch(choice: &Choice, shape: &Shape, binds: Binds, caps: &Caps) -> Dispatch {
    let mut variant = Variant::new(DType::F16)
        .choose("window_attend", "coop")
        .choose("window_project", "coop")
        .set("WG", invocations(shape, choice))
        .set("CHANNELS", shape.channels())
        .set("HEADS", shape.heads)
        .set("D", shape.d)
        .set("WS", shape.window);
    for (name, k) in ["K0", "K1", "K2", "K3"].into_iter().zip(shape.kernels) {
        variant = variant.set(name, k);
    }
    Dispatch {
        kernel: &SPEC,
        variant: variant
            .set("PROJECT", choice.project)
            .set("X_PARTS", shape.parts),
        params: bytemuck::bytes_of(&params(shape)).to_vec(),
        args: binds.args(),
        grid: fold_grid(shape.windows() as u64, caps),
        category: Category::Attention,
        cost: cost(shape, DType::F16, choice.project, true),
    }
}

fn cases() -> Vec<Case> {
    let shape = |batch, [h, w]: [usize; 2], heads, d, window, kernels, parts| Shape {
        batch,
        h,
        w,
        heads,
        d,
        window,
        kernels,
        parts,
    };
    let list = [
        // shape, shares, with the projection
        (shape(1, [14, 14], 4, 16, 7, [5; 4], 1), 2, true),
        (shape(1, [7, 7], 4, 32, 7, [5; 4], 3), 1, true),
        (shape(2, [5, 6], 2, 16, 5, [5; 4], 1), 2, true),
        (shape(3, [4, 4], 2, 16, 4, [7, 5, 3, 3], 2), 8, true),
        (shape(3, [4, 4], 4, 48, 4, [5; 4], 1), 4, false),
        (shape(1, [7, 7], 2, 64, 7, [7, 5, 3, 3], 1), 2, true),
        (shape(2, [7, 9], 3, 96, 7, [7, 5, 3, 3], 1), 2, false),
        (shape(1, [8, 9], 3, 80, 7, [3; 4], 2), 1, false),
        (shape(1, [12, 6], 2, 32, 6, [3, 7, 3, 3], 1), 1, true),
        (shape(2, [5, 9], 1, 112, 5, [5; 4], 1), 2, false),
        (shape(1, [7, 8], 3, 16, 7, [3; 4], 2), 2, false),
        (shape(1, [5, 5], 2, 32, 5, [3; 4], 1), 4, true),
    ];
    let scaled = |v: Vec<f32>, by: f32| v.into_iter().map(|v| v * by).collect();
    let case = |(s, shares, project): (Shape, usize, bool)| {
        let way = Choice { shares, project };
        let caps = Caps {
            max_groups: if s.batch == 3 { 2 } else { 65_535 },
            ..Caps::default()
        };
        let x = s.batch * s.h * s.w * s.channels();
        let binds = Binds {
            x: Arg(0),
            w: Arg(1),
            b: Arg(2),
            y: Arg(3),
        };
        let [w, b] = packing(&s, project, true);
        Case {
            name: format!(
                "{}x{}x{}_{}heads_window{}",
                s.batch, s.h, s.w, s.heads, s.window
            ),
            dispatch: dispatch(&way, &s, binds, &caps),
            arrays: vec![
                Array::Elem(scaled(noise(1, s.parts * x), 1.0 / s.parts as f32)),
                Array::Elem(scaled(noise(2, packed_len(&w)), 1.0 / (s.d as f32).sqrt())),
                Array::Elem(scaled(noise(3, packed_len(&b)), 0.25)),
                Array::Out(x),
            ],
        }
    };
    list.into_iter().map(case).collect()
}
