//! Texts of the draft's own, and the target's distributions along them: the sampling source "student" of section 4.1 of
//! "Online Speculative Decoding" (arXiv 2310.07177).

use super::{OnlineSettings, Source};
use crate::engine::distill::{Author, Batch, Distributions, Texts};
use crate::engine::language::Language;
use crate::error::Result;
use std::sync::Arc;

/// Has the draft answer, and the target read it.
pub(super) struct Writer {
    target: Arc<Language>,
    texts: Option<Texts>,
    author: Option<Author>,
    len: usize,
}

impl Writer {
    /// One for `settings`; `None` where only the target's texts are learned.
    ///
    /// # Errors
    /// As [`Texts::new`].
    pub fn new(target: &Arc<Language>, settings: &OnlineSettings) -> Result<Option<Self>> {
        if settings.source == Source::Teacher {
            return Ok(None);
        }
        let len = (settings.context)
            .min(target.max_positions().unwrap_or(usize::MAX))
            .max(2);
        Ok(Some(Self {
            target: target.clone(),
            texts: Some(Texts::new(target, len, 1.0)?),
            author: None,
            len,
        }))
    }

    /// What `draft` answers to `prompt` now, drawn at temperature 1 by `seed`, in at most `answer` tokens: a sequence, and
    /// the rows that predict the answer. Of a long prompt, the end. `None` where the answer is empty.
    ///
    /// # Errors
    /// As [`Texts::batch_by`].
    pub fn write(
        &mut self,
        draft: &Arc<Language>,
        prompt: &[u32],
        answer: usize,
        seed: u64,
    ) -> Result<Option<Batch>> {
        let author = match &mut self.author {
            Some(author) => author,
            none => none.insert(Author::new(draft, self.len, 1.0, self.len)?),
        };
        author.begin_anew(answer);
        let most = self.len.saturating_sub(answer).max(self.len / 2).max(1);
        let prompt = &prompt[prompt.len().saturating_sub(most.min(self.len - 1))..];
        let texts = match &mut self.texts {
            Some(texts) => texts,
            none => none.insert(Texts::new(&self.target, self.len, 1.0)?),
        };
        texts.clear();
        texts.push_prompt(prompt);
        let mut batch = texts.batch_by([0], author, seed, Distributions::Host)?;
        let Some(&last) = batch.rows.last() else {
            return Ok(None);
        };
        batch.tokens.truncate(last as usize + 1);
        Ok(Some(batch))
    }

    /// Has it leave the device; it comes back when it is wanted.
    pub fn park(&mut self) {
        (self.texts, self.author) = (None, None);
    }

    /// Bytes on the device beside the models' weights.
    pub fn bytes(&self) -> u64 {
        let texts = self.texts.as_ref().map_or(0, Texts::bytes);
        texts + self.author.as_ref().map_or(0, Author::bytes)
    }
}
