//! Language models: a target, its draft, and the loop in which one proposes and the other verifies.

mod generation;
mod model;
mod plans;
mod request;
mod runner;
mod score;
mod session;

pub use generation::{Generation, Stats};
pub use model::{Language, Room};
pub use request::{DraftLen, Request, Sampling, published};
pub use score::Scorer;
pub use session::{Draft, Session};
