//! Linear layers of many rows: prefill, and whole sequences.
//!
//! It is bound by arithmetic. On matrix units a tile of 128 × 128 reads (128 · 4 + 128 · 2) · 64 bytes from the cache
//! for 128 · 128 · 64 multiply-adds, 21 a byte, and each subgroup reads 6 matrices from workgroup memory for 8
//! products: that memory is predicted to bound it. Measured on an H200: 174 to 212 TFLOP/s from 512 × 4096 × 4096 on.

use super::linear::{self, Epilogue, Linear, Operands, on_matrix_units, reference};
use super::skinny::{LANES_WG, binds, on_lanes, params};
use crate::kernel;
use crate::shader::{Caps, Case, Category, Dispatch, fold_grid};
use crate::tensor::quant::Format;

kernel! {
    "matmul/wide.wgsl",
    params { m: u32, n: u32, k: u32, first: u32, stride: u32, scale: f32, eps: f32 },
    binds { x: Read, w: Read, scales: Read, aux: Read, r: Read, y: Write },
}

/// One dispatch of the product. There is no norm in it: `l.norm` counts as none, and the bias is first in `aux`.
pub fn dispatch(l: &Linear, at: Operands, caps: &Caps) -> Dispatch {
    let l = &Linear { norm: None, ..*l };
    let coop = on_matrix_units(l.format, caps);
    let v = linear::variant(l.format, coop)
        .set("BIAS", l.bias)
        .choose("linear_store", l.epilogue.name());
    let (variant, bm, bn) = if coop {
        // Tiles of 128 × 128 need 45 KiB of workgroup memory, of 128 × 64 32 KiB.
        let wg: u32 = if caps.max_workgroup_bytes >= 46 << 10 {
            256
        } else {
            128
        };
        (v.choose("wide", "coop").set("WG", wg), 128, wg as usize / 2)
    } else if let Some(lanes) = caps.lanes() {
        let v = on_lanes(v, lanes).choose("wide", "lanes");
        (v, 16, 2 * LANES_WG)
    } else {
        let wg: u32 = 1 << caps.max_invocations.clamp(64, 256).ilog2();
        (
            v.choose("wide", "scalar").set("WG", wg),
            wg as usize / 4,
            64,
        )
    };
    let groups = l.m.div_ceil(bm) * l.n.div_ceil(bn);
    Dispatch {
        kernel: &SPEC,
        variant,
        params: bytemuck::bytes_of(&params(l)).to_vec(),
        args: binds(at).args(),
        grid: fold_grid(groups as u64, caps),
        category: Category::Matmul,
        cost: l.cost(),
    }
}

fn cases() -> Vec<Case> {
    let plain = Linear {
        m: 17,
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
        Linear {
            m: 70,
            n: 131,
            k: 100,
            stride: 131,
            bias: true,
            ..plain
        },
        Linear {
            m: 33,
            n: 40,
            k: 132,
            epilogue: Epilogue::Silu,
            first: 16,
            stride: 28,
            ..plain
        },
        Linear {
            m: 130,
            n: 66,
            k: 68,
            epilogue: Epilogue::Add,
            stride: 66,
            scale: 0.25,
            ..plain
        },
        Linear {
            m: 18,
            n: 18,
            k: 64,
            bias: true,
            epilogue: Epilogue::Gelu,
            stride: 9,
            ..plain
        },
        Linear {
            m: 20,
            n: 20,
            k: 192,
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
            if format != Format::F32 {
                cases.push(linear::case(&l, |l, at| dispatch(l, at, &coop)));
            }
        }
    }
    // Few invocations; the larger tile on matrix units.
    let l = Linear {
        format: Format::F16,
        ..shapes[2]
    };
    let caps = Caps {
        max_invocations: 64,
        ..few
    };
    cases.push(linear::case(&l, |l, at| dispatch(l, at, &caps)));
    let caps = Caps {
        max_workgroup_bytes: 48 << 10,
        ..coop
    };
    cases.push(linear::case(&l, |l, at| dispatch(l, at, &caps)));
    cases
}
