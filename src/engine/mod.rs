//! Loops over plans: a model on a device, pictures in, labels out.

mod classifier;
mod vision;

pub use classifier::{Classifier, Prediction};
pub use vision::Vision;
