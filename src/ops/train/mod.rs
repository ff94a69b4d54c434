//! What models are trained with, beside the ops that they run with: layers over values that change, in f32, the
//! gradients of others, losses and optimisers.

mod attention;
mod dense;
mod gated;
mod loss;
mod norm;
mod optim;
mod rows;
mod unary;

pub use attention::{Causal, Whole};
pub(super) use gated::back as gated_back;
pub use loss::Taught;
pub(super) use norm::back as rms_norm_back;
pub(super) use unary::back as unary_back;
