//! Feed-forward layers.

pub mod depthwise_ffn;
