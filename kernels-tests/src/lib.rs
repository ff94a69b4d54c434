//! The harness of the kernels' tests: running a case on an adapter, and how far from the truth it may be.

pub mod distill;
pub mod emulate;
pub mod gradients;
pub mod harness;
pub mod language;
pub mod law;
pub mod numpy;
pub mod ops;
pub mod references;
pub mod snapshot;
pub mod tolerance;
pub mod weights;
