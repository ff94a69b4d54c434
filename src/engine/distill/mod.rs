//! Training: a draft learns from the target's distributions ("Online Speculative Decoding", arXiv 2310.07177), or a
//! model from texts alone.

mod author;
mod batch;
mod copies;
mod distributions;
mod export;
mod fresh;
mod host;
mod judge;
mod measure;
mod parts;
mod plan;
mod saved;
mod settings;
mod standing;
mod table;
mod texts;
mod trainer;

pub use crate::kernels::loss::distill::Loss;
pub use author::Author;
pub use batch::{Batch, Prompts, Recorded};
pub(crate) use batch::{few, few_below};
pub use distributions::Distributions;
pub use fresh::{fresh, mixed};
pub(crate) use judge::GROWN;
pub use judge::Start;
pub use parts::Score;
pub use saved::{WEIGHTS, alike, holds};
pub use settings::{Optimizer, Schedule, Settings};
pub use standing::Standing;
pub use texts::Texts;
pub use trainer::{Step, Trainer};
