//! Kernels that touch each element once.

pub mod binary;
pub mod copy;
pub mod fill;
pub mod gated;
pub mod gated_bwd;
pub mod multiply_add;
pub mod unary;
pub mod unary_bwd;
pub mod window;
