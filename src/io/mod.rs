//! Bytes in, named tensors out: checkpoints, pictures, the model hub.
//!
//! Nothing here knows a model or a device. Whatever a file holds, reading it ends in a value or in one clear line.

mod checkpoint;
pub mod folder;
mod header;
#[cfg(feature = "cli")]
pub mod hub;
#[cfg(feature = "images")]
pub mod image;
pub mod labels;
pub mod preprocess;
mod resample;
mod save;

pub use checkpoint::Checkpoint;
pub use safetensors::Dtype as FileDType;
pub use save::{save, write_atomically};
