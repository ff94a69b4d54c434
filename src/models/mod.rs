//! Models, each written as its paper reads: configuration, weights, forward. None names a kernel or a buffer.

pub mod efficientvit;
pub mod language;
