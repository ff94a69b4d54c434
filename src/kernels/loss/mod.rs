//! What training makes small.

pub mod distill;
pub mod take;
