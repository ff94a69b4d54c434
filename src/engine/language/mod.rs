//! Language models: a target, its draft, and the loop in which one proposes and the other verifies.

mod embedded;
mod generation;
mod layers;
mod measure;
mod model;
mod planned;
mod plans;
mod renew;
mod request;
mod runner;
mod score;
mod session;
mod watch;

pub use super::speculate::DraftLen;
pub use embedded::embedded;
pub use generation::{Generation, Stats};
pub(in crate::engine) use layers::Layers;
pub use model::{Language, Room};
pub use plans::KMAX;
pub use renew::Renewal;
pub use request::{Request, Sampling, published};
pub use score::Scorer;
pub use session::{Draft, Drafter, Session};
pub use watch::{Kept, Watch};
