//! What is asked of a model: how the next token is chosen, how many, and how a draft is used.

use crate::engine::speculate::DraftLen;
use crate::io::Generation;

pub use crate::kernels::sample::Settings as Sampling;

/// How a publisher's generation_config.json would have tokens drawn; greedy where it does not say to sample.
pub fn published(generation: &Generation) -> Sampling {
    let penalty = generation.repetition_penalty.unwrap_or(1.0);
    let greedy = Sampling {
        penalty,
        ..Sampling::greedy()
    };
    if generation.do_sample != Some(true) {
        return greedy;
    }
    Sampling {
        temperature: generation.temperature.unwrap_or(1.0),
        top_k: generation.top_k.unwrap_or(0),
        top_p: generation.top_p.unwrap_or(1.0),
        min_p: generation.min_p.unwrap_or(0.0),
        ..greedy
    }
}

/// What is asked of a model.
#[derive(Clone, Debug)]
pub struct Request {
    /// At most so many new tokens.
    pub max_new: usize,
    /// With its seed: the same seed gives the same tokens where the draft's length is not [`DraftLen::Auto`], which follows
    /// the clock. Greedy tokens are the same with any length.
    pub sampling: Sampling,
    pub draft_len: DraftLen,
    /// Tokens that end the text; they are the last of the result.
    pub stop: Vec<u32>,
    /// Where logits are not finite, find the layer that they come from.
    pub check: bool,
}
