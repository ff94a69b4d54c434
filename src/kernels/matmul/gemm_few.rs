//! Matrix product of few rows on matrix units, in f16: at batch 1 nothing but latency matters.
//!
//! It reads w once for every 16 rows. 16 rows of 384 × 1152 are 0.9 MB in f16, spread over 24 workgroups: what takes
//! time is the chain of launch, one trip to memory, up to nine multiply-adds of matrices and a sum over subgroups.

use super::product::{Load, Operands, Product, Residual};
use super::reference::reference;
use crate::kernel;
use crate::shader::{Caps, Case, Dispatch};
use crate::tensor::DType;

kernel! {
    "matmul/gemm_few.wgsl",
    params { m: u32, x_offset: u32, scale: f32 },
    binds { x: Read, aux: Read, w: Read, bias: Read, r: Read, y: Write },
}

/// Sixteens of the depth that a subgroup takes, at most: their weights stay in registers.
const MOST_STEPS: usize = 12;

/// Parts of the depth, one for each subgroup of a workgroup.
fn parts(p: &Product, caps: &Caps) -> usize {
    (p.k / 16)
        .min(8)
        .min(caps.max_invocations as usize / 32)
        .max(1)
}

/// Workgroup memory of a dispatch, in bytes.
fn bytes(p: &Product, parts: usize) -> usize {
    let steps = (p.k / 16).div_ceil(parts);
    16 * (16 * steps * parts + 8) * 2 + parts * 1024
}

/// Whether the kernel computes the product on such an adapter.
pub fn fits(p: &Product, elem: DType, caps: &Caps) -> bool {
    let parts = parts(p, caps);
    caps.matrix_units(elem)
        && p.k.is_multiple_of(16)
        && p.n.is_multiple_of(8)
        && p.n >= 16
        && (p.k / 16).div_ceil(parts) <= MOST_STEPS
        && bytes(p, parts) <= caps.max_workgroup_bytes as usize
}

/// One dispatch of the product.
pub fn dispatch(p: &Product, elem: DType, at: Operands, caps: &Caps) -> Dispatch {
    let groups = p.m.div_ceil(16) * p.n.div_ceil(16);
    let mut variant = p
        .variant(elem)
        .set("ROWS", p.m.min(16))
        .set("WG", 32 * parts(p, caps));
    if let Residual::Parts(parts) = p.residual {
        variant = variant.set("R_PARTS", parts);
    }
    p.dispatch(&SPEC, variant, at, groups, elem, caps)
}

fn cases() -> Vec<Case> {
    let fits = |c: &Case| {
        let [n, k] = ["N", "K"].map(|name| c.variant().u32(name));
        c.elem() == DType::F16 && n % 8 == 0 && n >= 16 && k % 16 == 0
    };
    let mut cases = Product::cases(dispatch);
    cases.retain(fits);
    let parts = Product {
        m: 19,
        n: 40,
        k: 48,
        load: Load::Rows {
            stride: 48,
            offset: 0,
        },
        residual: Residual::Parts(3),
        activation: "none",
    };
    cases.push(parts.case(DType::F16, dispatch));
    cases
}
