//! Kernels that touch each element once.

pub mod binary;
pub mod copy;
pub mod gated;
pub mod unary;
pub mod window;
