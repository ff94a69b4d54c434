//! A model that writes what is learned.

use crate::engine::language::{Draft, DraftLen, Language, Request, Room, Sampling, Session};
use crate::error::Result;
use std::sync::Arc;

/// A model that writes answers.
pub struct Author {
    session: Session,
    temperature: f32,
    max_new: usize,
}

impl Author {
    /// `model` writes at most `max_new` tokens, drawn at `temperature`, in sequences of at most `len`.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn new(
        model: &Arc<Language>,
        len: usize,
        temperature: f32,
        max_new: usize,
    ) -> Result<Self> {
        Ok(Self {
            session: Session::new(model, Draft::None, Room::of(len))?,
            temperature,
            max_new,
        })
    }

    /// Bytes on the device beside the model's weights.
    pub fn bytes(&self) -> u64 {
        self.session.bytes()
    }

    /// Forgets what was computed, as the model's weights are others now; answers have at most `max_new` tokens from now on.
    pub fn begin_anew(&mut self, max_new: usize) {
        self.session.forget();
        self.max_new = max_new;
    }

    /// An answer to `prompt`, as much as makes `len` tokens with what the decoder has of it.
    ///
    /// # Errors
    /// As [`Session::generate`].
    pub fn answer(&mut self, prompt: &[u32], len: usize, seed: u64) -> Result<Vec<u32>> {
        let begun = match self.session.target().has_encoder() {
            true => 1,
            false => prompt.len(),
        };
        let max_new = len.saturating_sub(begun).min(self.max_new);
        if max_new == 0 {
            return Ok(Vec::new());
        }
        let request = Request {
            max_new,
            sampling: Sampling {
                temperature: self.temperature,
                seed,
                ..Sampling::greedy()
            },
            draft_len: DraftLen::Off,
            stop: self.session.target().config().eos().to_vec(),
            check: false,
        };
        let mut answer = Vec::new();
        let mut generation = self.session.generate(prompt, &request)?;
        while let Some(tokens) = generation.next()? {
            answer.extend(tokens);
        }
        Ok(answer)
    }
}
