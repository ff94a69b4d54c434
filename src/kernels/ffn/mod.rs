//! Feed-forward layers.

pub mod depthwise_ffn;
pub mod depthwise_ffn_few;
pub mod depthwise_ffn_matrix;
