//! Matrix product of many rows, tiled through workgroup memory and registers.
//!
//! A tile of BM × BN costs BM·BN·BK multiply-adds for (BM + BN)·BK loads: with 128 × 64 and f16, 43 multiply-adds
//! a byte, above every GPU's ratio of arithmetic to bandwidth, so it is bound by arithmetic.

use super::product::{Operands, Product};
use super::reference::reference;
use crate::kernel;
use crate::shader::{Caps, Case, Dispatch};
use crate::tensor::DType;

kernel! {
    "matmul/gemm.wgsl",
    params { m: u32, x_offset: u32, scale: f32 },
    binds { x: Read, aux: Read, w: Read, bias: Read, r: Read, y: Write },
}

const WG: usize = 256;
const BN: usize = 64;

/// One dispatch of the product.
pub fn dispatch(p: &Product, elem: DType, at: Operands, caps: &Caps) -> Dispatch {
    let wg = WG.min(caps.max_invocations as usize).next_power_of_two();
    let wide = p.m.div_ceil(128) * p.n.div_ceil(BN) >= 2 * caps.parallel as usize;
    let tm = if wide { 8 } else { 4 };
    let bm = wg / (BN / 4) * tm;
    let groups = p.m.div_ceil(bm) * p.n.div_ceil(BN);
    let variant = p.variant(elem).set("WG", wg).set("BN", BN).set("TM", tm);
    p.dispatch(&SPEC, variant, at, groups, elem, caps)
}

fn cases() -> Vec<Case> {
    Product::cases(dispatch)
}
