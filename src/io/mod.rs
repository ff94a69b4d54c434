//! Bytes in, named tensors out: checkpoints, pictures, language models and their text, the model hub.
//!
//! Nothing here knows a model or a device. Whatever a file holds, reading it ends in a value or in one clear line.

mod bytes;
mod checkpoint;
pub mod folder;
mod generation;
mod gguf;
mod header;
#[cfg(feature = "cli")]
pub mod hub;
#[cfg(feature = "images")]
pub mod image;
#[cfg(feature = "images")]
mod jpeg;
mod json;
pub mod labels;
mod language;
mod lock;
pub mod preprocess;
#[cfg(any(feature = "images", feature = "text"))]
mod quiet;
mod resample;
mod save;
mod shards;
#[cfg(feature = "text")]
pub mod text;
mod weights;

pub use checkpoint::Checkpoint;
pub use generation::Generation;
pub use gguf::{Gguf, Meta};
pub use json::{read_text, utf8};
pub use language::{LanguageFiles, Parts};
pub use lock::Lock;
pub use safetensors::Dtype as FileDType;
pub use save::{Staged, save, serialize, writable, write_atomically};
pub use shards::Shards;
pub use weights::{Values, Weights};
