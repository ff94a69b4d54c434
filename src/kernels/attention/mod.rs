//! Attention.

pub mod cascaded_group;
