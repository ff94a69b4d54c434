//! Speculative decoding without a GPU: what a draft is worth, how many tokens it should propose, and proposals looked up
//! in the text itself.

pub mod controller;
pub mod cost;
pub mod ngram;
#[cfg(test)]
mod simulation;

pub use controller::{Controller, DraftLen, Round};
pub use ngram::Ngram;
