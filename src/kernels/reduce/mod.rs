//! Kernels that make few numbers of many.

pub mod mean;
pub mod softmax;
