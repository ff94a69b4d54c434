//! The experiment of "Online Speculative Decoding" (arXiv 2310.07177) on one machine: streams of requests, the arms that
//! serve them, and what is to be seen of it.

mod arms;
mod criteria;
mod drafts;
mod draws;
mod experiment;
mod problems;
mod prompts;
pub mod scores;
mod sql;
mod streams;

pub use arms::{Answer, Arm, Fixed, Kind, Learning, Routed, Updates};
pub use criteria::{Criterion, criteria};
pub use drafts::{Made, Schooling, distilled, fresh};
pub use draws::Draws;
pub use experiment::{Experiment, Item, Run, Settings};
pub use prompts::Domain;
pub use scores::{Measure, Row};
pub use streams::Stream;
