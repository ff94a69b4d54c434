//! What training makes small.

pub mod distill;
