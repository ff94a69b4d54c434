//! Attention.

pub mod cascaded_group;
pub mod qkv;
