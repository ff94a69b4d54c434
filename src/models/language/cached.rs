//! What a run of a language model works on: some rows of a sequence whose tokens, positions, keys and values stay on
//! the device.

use crate::graph::{Graph, Value};
use crate::tensor::DType;

/// Rows beyond the capacity that a history has, so that proposals may be written past the last token.
pub const SLACK: usize = 32;

/// A run of `rows` tokens of a sequence. Row i is the token at position `start` + i; it sees the positions up to its
/// own, and its keys and values go to the caches, at that position modulo `capacity`. So a sequence is rolled back by
/// setting `start`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cached {
    pub rows: usize,
    /// Positions that a sequence may have.
    pub positions: usize,
    /// Positions that the caches hold: all, or with a window as many as it and a run's rows take.
    pub capacity: usize,
    /// Positions that a row sees, its own included; all where `None`.
    pub window: Option<usize>,
    /// The element type of keys and values.
    pub elem: DType,
}

impl Cached {
    /// `history` [positions + slack]: the ids of all tokens by position.
    pub fn history<'g>(&self, g: &'g Graph) -> Value<'g> {
        g.state("history", &[self.positions + SLACK], DType::U32)
    }

    /// `prompt` [capacity + slack]: the ids of the tokens that an encoder reads.
    pub fn prompt<'g>(&self, g: &'g Graph) -> Value<'g> {
        g.state("prompt", &[self.capacity + SLACK], DType::U32)
    }

    /// `keys` [1]: how many tokens the encoder reads.
    pub fn keys<'g>(&self, g: &'g Graph) -> Value<'g> {
        g.state("keys", &[1], DType::U32)
    }

    /// `start` [1]: the position of row 0.
    pub fn start<'g>(&self, g: &'g Graph) -> Value<'g> {
        g.state("start", &[1], DType::U32)
    }

    /// `cache.<layer>` [2, heads, capacity, head_dim]: keys, then values.
    pub fn cache<'g>(
        &self,
        g: &'g Graph,
        layer: impl std::fmt::Display,
        kv_heads: usize,
        head_dim: usize,
    ) -> Value<'g> {
        let shape = [2, kv_heads, self.capacity, head_dim];
        g.state(format_args!("cache.{layer}"), &shape, self.elem)
    }
}
