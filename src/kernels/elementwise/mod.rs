//! Kernels that touch each element once.

pub mod binary;
