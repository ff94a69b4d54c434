//! Optimisers: the norm of all gradients, its clipping, and the update of one weight.
//!
//! An update is `optim/norm` for each gradient, `optim/clip` once, and then `optim/adamw` or `optim/sgd` for each
//! weight. What they share of one update is in `control`, a state of [`CONTROL`] numbers, f32.

pub mod adamw;
pub mod clip;
pub mod norm;
pub mod sgd;

/// Numbers of `control`: updates made, whether the last was skipped, updates skipped, the factor of gradients, their
/// norm before it, and, which the host sets, the learning rate and a limit: an update by a larger norm is skipped, 0 for
/// any. One is spare.
pub const CONTROL: usize = 8;
/// Where the norm, the learning rate and the limit stand in it.
pub const NORM: usize = 4;
pub const RATE: usize = 5;
pub const LIMIT: usize = 6;

/// `control` after so many updates.
pub fn control(updates: u32, learning_rate: f32) -> [f32; CONTROL] {
    [updates as f32, 0.0, 0.0, 1.0, 0.0, learning_rate, 0.0, 0.0]
}
