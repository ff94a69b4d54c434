//! Matrix products.

pub mod batched;
pub mod dense;
pub mod dense_coop;
pub mod dense_lanes;
pub mod gemm;
pub mod gemm_coop;
pub mod gemm_few;
pub mod gemm_small;
pub mod linear;
pub mod pack;
mod product;
mod reference;
pub mod repack;
pub mod repack_q8_0;
pub mod skinny;
pub mod wide;

pub use product::{Load, Operands, Product, Residual, product, sums_parts};
