//! Kernels that make few numbers of many.

pub mod columns;
pub mod mean;
pub mod softmax;
