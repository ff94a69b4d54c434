//! Linear layers of up to 16 rows: what decoding and the verification of a draft are made of.
//!
//! It should be bound by bandwidth: at m = 1 two bytes of f16 weights are one multiply-add, and 16 rows are 16 of them,
//! a small part of what matrix units do meanwhile. The weight is read once for all rows; x is read again by every
//! workgroup, m · K · 4 bytes for its 16 · NB features, from the cache: with NB = 4, f16 and 9 rows, 28 % of the
//! weight's bytes. On matrix units 16 rows are always computed, so the time hardly grows with m.
//!
//! Measured on an H100, whose elementwise passes move 3.0 TB/s: cold weights, launch included, 1 row and 9, in µs:
//!
//! | [N × K] | f16 | q8_0 | q4_0 |
//! | --- | --- | --- | --- |
//! | 22016 × 4096 | 65.5, 72.3 (2.8 TB/s) | 43.5, 47.4 | 33.8, 36.7 |
//! | 4096 × 11008 | 34.4, 37.3 | | 18.4, 19.9 |
//! | 4096 × 4096 | 15.3, 16.2 | 11.2, 11.8 | 9.3, 10.0 |
//!
//! A kernel that does nothing but read the first in f16 takes 61.5 µs. Of q4_0's 36 µs without looking ahead, 8 go with
//! the dequantising and what it writes, 4 with the products and what they load, 1 with x, nothing with the barriers.
//! Matrices loaded straight from storage, without a tile for the weight, take 67 to 73 µs in f16, more at 9 rows; x
//! through workgroup memory for all subgroups at once takes longer, too.

use super::linear::{self, Epilogue, Linear, Operands, on_matrix_units, reference};
use crate::kernel;
use crate::shader::{Caps, Case, Category, Dispatch, Variant, fold_grid};
use crate::tensor::quant::Format;

kernel! {
    "matmul/skinny.wgsl",
    params { m: u32, n: u32, k: u32, first: u32, stride: u32, scale: f32, eps: f32 },
    binds { x: Read, w: Read, scales: Read, aux: Read, r: Read, y: Write },
}

/// The most rows of a dispatch.
pub const ROWS: usize = 16;

/// How a product with a weight [n, k] is shared among workgroups on matrix units. It does not depend on m.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    /// Subgroups of a workgroup, which share the depth.
    teams: usize,
    /// Blocks of 16 features of a workgroup.
    blocks: usize,
    /// Blocks of the depth on their way at a time.
    depth: usize,
}

impl Share {
    /// As measured on an H100 and an H200: enough workgroups for every multiprocessor, then as many features in each as that
    /// leaves; few subgroups where the depth is soon through.
    fn of(format: Format, [n, k]: [usize; 2], caps: &Caps) -> Self {
        let (features, parallel) = (n.div_ceil(16), caps.parallel as usize);
        let many = features >= 8 * parallel;
        let blocks = match features {
            f if f < 2 * parallel => 1,
            _ if !many => 2,
            _ => 4,
        };
        let shallow = k < 2048 && features >= 2 * parallel;
        let (teams, blocks) = match format {
            _ if shallow => (4, blocks),
            Format::F16 if many => (4, 2),
            Format::F16 if features >= 2 * parallel => (4, 1),
            _ => (8, blocks),
        };
        let enough = caps.max_workgroup_bytes >= 46 << 10;
        let ahead = match format {
            Format::Q8_0 => blocks == 4,
            Format::Q4_0 => blocks >= 2,
            _ => false,
        };
        Self {
            teams: if enough { teams } else { 4 },
            blocks,
            depth: if ahead && !shallow { 2 } else { 1 },
        }
    }
}

/// Rows that a workgroup without matrix units takes at a time, of m.
pub(super) fn rows_read(m: usize) -> usize {
    [1, 2, 4, 8].into_iter().find(|&r| m <= r).unwrap_or(ROWS)
}

/// Invocations of a workgroup on the lanes of a processor, whose threads take one workgroup at a time.
pub(super) const LANES_WG: usize = 16;

/// The constants by which a kernel takes the library `lane_product`.
pub(super) fn on_lanes(v: Variant, lanes: u32) -> Variant {
    v.choose("lane_product", "broadcast")
        .set("WG", LANES_WG)
        .set("LANES", lanes)
}

/// The constants by which a kernel takes the library `skinny`.
pub(in crate::kernels) fn variant(
    v: Variant,
    m: usize,
    format: Format,
    shape: [usize; 2],
    caps: &Caps,
) -> (Variant, u64) {
    if on_matrix_units(format, caps) {
        let share = Share::of(format, shape, caps);
        let rows = [2, 4, 6, 8, 10]
            .into_iter()
            .find(|&r| m <= r)
            .unwrap_or(ROWS);
        let v = v
            .choose("skinny", "coop")
            .set("WG", 32 * share.teams)
            .set("ROWS", rows)
            .set("NB", share.blocks)
            .set("DEPTH", share.depth);
        (v, shape[0].div_ceil(16 * share.blocks) as u64)
    } else if let Some(lanes) = caps.lanes() {
        let v = on_lanes(v, lanes)
            .choose("skinny", "lanes")
            .set("ROWS", rows_read(m))
            .set("NB", LANES_WG / 8);
        (v, shape[0].div_ceil(2 * LANES_WG) as u64)
    } else {
        let rows = rows_read(m);
        let wg = 1 << caps.max_invocations.clamp(32, 256).ilog2();
        let v = v
            .choose("skinny", "scalar")
            .set("WG", wg as u32)
            .set("ROWS", rows);
        (v, shape[0].div_ceil(16) as u64)
    }
}

/// One dispatch of the product; m is at most [`ROWS`].
pub fn dispatch(l: &Linear, at: Operands, caps: &Caps) -> Dispatch {
    let (variant, groups) = variant(l.variant(caps), l.m, l.format, [l.n, l.k], caps);
    Dispatch {
        kernel: &SPEC,
        variant,
        params: bytemuck::bytes_of(&params(l)).to_vec(),
        args: binds(at).args(),
        grid: fold_grid(groups, caps),
        category: Category::Matmul,
        cost: l.cost(),
    }
}

/// The params of the kernels of linear layers.
pub(super) fn params(l: &Linear) -> Params {
    Params {
        m: l.m as u32,
        n: l.n as u32,
        k: l.k as u32,
        first: l.first as u32,
        stride: l.stride as u32,
        scale: l.scale,
        eps: l.norm.unwrap_or_default(),
    }
}

/// Their bindings.
pub(super) fn binds(at: Operands) -> Binds {
    Binds {
        x: at.x,
        w: at.w,
        scales: at.scales.unwrap_or(at.w),
        aux: at.aux.unwrap_or(at.x),
        r: at.r.unwrap_or(at.x),
        y: at.y,
    }
}

fn cases() -> Vec<Case> {
    let plain = Linear {
        m: 1,
        n: 16,
        k: 64,
        format: Format::F32,
        norm: None,
        bias: false,
        epilogue: Epilogue::Plain,
        scale: 1.0,
        first: 0,
        stride: 16,
    };
    let shapes = [
        // One block; a ragged last pair, a folded grid; two weights' worth of columns; deep.
        plain,
        Linear {
            m: 3,
            n: 51,
            k: 100,
            stride: 51,
            bias: true,
            ..plain
        },
        Linear {
            m: 9,
            n: 40,
            k: 132,
            norm: Some(1e-5),
            epilogue: Epilogue::Silu,
            first: 16,
            stride: 28,
            ..plain
        },
        Linear {
            m: 2,
            n: 32,
            k: 576,
            epilogue: Epilogue::Add,
            stride: 32,
            scale: 0.25,
            ..plain
        },
        Linear {
            m: 16,
            n: 18,
            k: 68,
            norm: Some(0.1),
            bias: true,
            epilogue: Epilogue::Gelu,
            stride: 9,
            ..plain
        },
        Linear {
            m: 5,
            n: 20,
            k: 64,
            epilogue: Epilogue::Relu,
            bias: true,
            first: 16,
            stride: 36,
            ..plain
        },
    ];
    let few = Caps {
        max_groups: 3,
        ..Caps::default()
    };
    let coop = linear::with_matrix_units(&few);
    let mut cases = Vec::new();
    for (i, shape) in shapes.into_iter().enumerate() {
        let all = [Format::F32, Format::F16, Format::Q8_0, Format::Q4_0];
        for format in [all[i % 4], all[(i + 1) % 4]] {
            let l = Linear { format, ..shape };
            cases.push(linear::case(&l, |l, at| dispatch(l, at, &few)));
            let caps = linear::with_lanes(&few, [4, 8][i % 2]);
            cases.push(linear::case(&l, |l, at| dispatch(l, at, &caps)));
            // Every share, as large weights would have it.
            if format != Format::F32 {
                let caps = Caps {
                    parallel: [16, 1, 0][i % 3],
                    ..coop.clone()
                };
                cases.push(linear::case(&l, |l, at| dispatch(l, at, &caps)));
            }
        }
    }
    // Deep enough for blocks that are read far ahead.
    let l = Linear {
        m: 2,
        n: 18,
        k: 2052,
        stride: 18,
        format: Format::Q8_0,
        ..plain
    };
    let caps = Caps {
        parallel: 0,
        ..coop
    };
    cases.push(linear::case(&l, |l, at| dispatch(l, at, &caps)));
    // Few invocations.
    let caps = Caps {
        max_invocations: 64,
        ..few
    };
    let l = Linear {
        m: 4,
        n: 33,
        k: 200,
        stride: 33,
        format: Format::F16,
        ..plain
    };
    cases.push(linear::case(&l, |l, at| dispatch(l, at, &caps)));
    cases
}
