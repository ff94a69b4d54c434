//! Convolutions that are more than one layer at once.

pub mod expand_depthwise;
pub mod stem;
pub mod stem_matrix;
