//! Speculative decoding without a GPU: what a draft is worth, how many tokens it should propose, which of several is to,
//! and proposals looked up in the text itself.

pub mod bandit;
pub mod controller;
pub mod cost;
pub mod costs;
pub mod ngram;
#[cfg(test)]
mod simulation;

pub use bandit::{Bandit, Seen};
pub use controller::{Controller, DraftLen, Round};
pub use costs::Costs;
pub use ngram::Ngram;
