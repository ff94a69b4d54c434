//! Matrix products.

pub mod batched;
pub mod gemm;
pub mod gemm_coop;
pub mod gemm_small;
mod product;
mod reference;

pub use product::{Load, Operands, Product, Residual, product};
