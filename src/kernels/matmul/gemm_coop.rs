//! Matrix product of many rows on matrix units, in f16 with f32 sums.
//!
//! A tile of 128 × BN moves (128 + BN)·BK·2 bytes for 128·BN·BK multiply-adds: with BN = 128, 32 a byte from the
//! cache, so 200 TFLOP/s ask 3 TB/s of it.

use super::product::{Operands, Product};
use super::reference::reference;
use crate::kernel;
use crate::shader::{Caps, Case, Dispatch};
use crate::tensor::DType;

kernel! {
    "matmul/gemm_coop.wgsl",
    params { m: u32, x_offset: u32, scale: f32 },
    binds { x: Read, aux: Read, w: Read, bias: Read, r: Read, y: Write },
}

const BM: usize = 128;

/// Whether the adapter has what it needs.
pub fn fits(elem: DType, caps: &Caps) -> bool {
    caps.matrix_units(elem) && caps.max_workgroup_bytes >= 28 << 10
}

/// One dispatch of the product.
pub fn dispatch(p: &Product, elem: DType, at: Operands, caps: &Caps) -> Dispatch {
    // The width that leaves the fewest columns of tiles unused, the widest of those.
    let waste = |bn: usize| p.n.next_multiple_of(bn) - p.n;
    let bn = [128, 96, 64, 32]
        .into_iter()
        .min_by_key(|&bn| waste(bn))
        .unwrap_or(64);
    let groups = p.m.div_ceil(BM) * p.n.div_ceil(bn);
    let variant = p.variant(elem).set("BN", bn);
    p.dispatch(&SPEC, variant, at, groups, elem, caps)
}

fn cases() -> Vec<Case> {
    let mut cases = Product::cases(dispatch);
    cases.retain(|c| c.elem() == DType::F16);
    cases
}
