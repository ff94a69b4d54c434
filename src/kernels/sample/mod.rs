//! From logits to tokens: the sampling transform, the draft's draw, the verification of a round of proposals.
//!
//! All three run on `batch` independent sequences; a decoder has one. What they share lies in states: `history`
//! [batch, stride] token ids by position, `start` [batch] of the target and of the draft, `settings` [batch, 8]
//! ([`Settings::words`]), `fault` [batch].

pub mod accept;
pub mod draw;
pub mod keep;
pub mod overlap;
pub mod random;
pub mod settings;
pub mod transform;

pub use random::{Purpose, uniform};
pub use settings::Settings;

use crate::shader::Caps;

/// The most proposals of a round.
pub const MOST_PROPOSALS: usize = 16;

/// [`transform`]'s bit of `fault`: logits of the target that are NaN or infinite.
pub const TARGET_FAULT: u32 = 1;

/// The same for the draft.
pub const DRAFT_FAULT: u32 = 2;

/// Words of a sequence's settings.
pub const SETTINGS: usize = 8;

/// Invocations of a workgroup for rows of `vocab` tokens.
fn workgroup(vocab: usize, caps: &Caps) -> usize {
    let most = (caps.max_invocations.clamp(32, 256) as usize + 1).next_power_of_two() / 2;
    vocab.clamp(8, most).next_power_of_two()
}

/// The library of reductions.
fn reduce(caps: &Caps) -> &'static str {
    match caps.subgroups {
        true => "subgroup",
        false => "workgroup",
    }
}

/// Tokens that an invocation loads at a time, so that a single workgroup has many on their way: 8, or all that it owns.
fn loads(vocab: usize, caps: &Caps) -> usize {
    vocab.div_ceil(workgroup(vocab, caps)).min(8)
}

/// The token that the shaders' `pick` draws of `weights` at `u`: the first by (c % workgroup, c / workgroup) whose
/// cumulative weight is above `u` of the whole.
fn picked(weights: &[f64], u: f32, workgroup: usize) -> u32 {
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|c| (c % workgroup, c / workgroup));
    let mut left = f64::from(u) * weights.iter().sum::<f64>();
    let mut last = 0;
    for c in order {
        if weights[c] > 0.0 {
            last = c;
            left -= weights[c];
            if left < 0.0 {
                break;
            }
        }
    }
    last as u32
}

/// Rows of probabilities for cases: random, peaked, with zeros. [rows, vocab]
fn distributions(seed: u32, rows: usize, vocab: usize) -> Vec<f32> {
    let mut all: Vec<f32> = crate::shader::noise(seed, rows * vocab)
        .iter()
        .map(|v| if *v < -1.0 { 0.0 } else { (2.0 * v).exp() })
        .collect();
    for row in all.chunks_mut(vocab) {
        row[0] += 1e-3;
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|v| *v /= sum);
    }
    all
}
