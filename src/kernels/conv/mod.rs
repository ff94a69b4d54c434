//! Convolutions that are more than one layer at once.

pub mod stem;
