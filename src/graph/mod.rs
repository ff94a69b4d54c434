//! What is to be computed: ops over values with shapes.

mod weight;

pub use weight::{Source, Weight};
