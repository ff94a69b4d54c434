//! Cascadia runs neural networks with hand-written WGSL kernels on any GPU that wgpu reaches.

pub mod device;
pub mod engine;
pub mod error;
pub mod graph;
pub mod io;
pub mod kernels;
pub mod models;
pub mod ops;
pub mod plan;
pub mod shader;
pub mod tensor;

pub use error::{Error, Result};
