//! Loops over plans: a model on a device, pictures in, labels out.

#[cfg(feature = "images")]
pub mod attention;
pub mod ceilings;
mod classifier;
mod described;
pub mod distill;
#[cfg(feature = "images")]
mod feed;
pub mod language;
mod model;
pub mod online;
pub mod osd;
pub mod profile;
pub mod speculate;
pub mod support;
mod vision;

pub use classifier::{Classifier, Prediction};
#[cfg(feature = "images")]
pub use feed::{Fed, feed};
pub use model::embedded;
#[cfg(feature = "cli")]
pub use model::find;
pub use vision::{Vision, at_most};
