//! Texts that a model learns from: their tokens, and a target's distributions after each of them.

use super::author::Author;
use super::batch::{Batch, Prompts};
use super::distributions::Distributions;
use crate::engine::language::{Language, Scorer};
use crate::error::{Error, Result};
use crate::models::language::Config;
use std::sync::Arc;

/// A sequence, and the first of its rows that is taught: those before it read the prompt. One without an answer yet ends
/// with that row.
#[derive(Clone, Debug, Default, PartialEq)]
struct Lesson {
    /// What an encoder reads, where there is one.
    prompt: Vec<u32>,
    tokens: Vec<u32>,
    first: usize,
}

/// Texts, and the target that teaches them where there is one.
pub struct Texts {
    scorer: Option<Scorer>,
    lessons: Vec<Lesson>,
    len: usize,
    temperature: f32,
    /// The decoder's first token, where an encoder reads the prompts.
    start: Option<u32>,
}

impl Texts {
    /// No texts yet, taught by `target` in sequences of at most `len` tokens. Its distributions are those at
    /// `temperature`.
    ///
    /// # Errors
    /// [`Error::Usage`] where `len` is less than 2 or more than it was made for.
    pub fn new(target: &Arc<Language>, len: usize, temperature: f32) -> Result<Self> {
        let mut texts = Self::untaught(target, len)?;
        texts.scorer = Some(Scorer::new(target, len)?);
        texts.temperature = temperature;
        Ok(texts)
    }

    /// No texts yet, which `model` learns from without a target, in sequences of at most `len` tokens: of batches of
    /// them, only those that are not soft.
    ///
    /// # Errors
    /// As [`Texts::new`].
    pub fn untaught(model: &Language, len: usize) -> Result<Self> {
        let most = model.max_positions().unwrap_or(usize::MAX);
        if len < 2 || len > most {
            let most = match model.max_positions() {
                Some(most) => format!("2 to {most}"),
                None => "at least 2".into(),
            };
            return Err(Error::Usage(format!(
                "a sequence of {len} {} cannot be taught; expected {most}",
                if len == 1 { "token" } else { "tokens" }
            )));
        }
        Ok(Self {
            scorer: None,
            lessons: Vec::new(),
            len,
            temperature: 1.0,
            start: match model.config() {
                Config::T5(c) => Some(c.decoder_start),
                Config::Decoder(_) => None,
            },
        })
    }

    /// How many sequences there are.
    pub fn sequences(&self) -> usize {
        self.lessons.len()
    }

    /// Bytes on the device beside the target's weights.
    pub fn bytes(&self) -> u64 {
        self.scorer.as_ref().map_or(0, Scorer::bytes)
    }

    /// Forgets all sequences.
    pub fn clear(&mut self) {
        self.lessons.clear();
    }

    /// A text that is taught as it is, in pieces. Where there is an encoder, it reads the first half of each, and the
    /// second is taught (prefix language modelling, arXiv 1910.10683, section 3.3.1).
    pub fn push_text(&mut self, tokens: &[u32]) {
        if self.start.is_some() {
            for piece in tokens.chunks(2 * self.len - 1).filter(|p| p.len() > 1) {
                let (prompt, answer) = piece.split_at(piece.len().div_ceil(2));
                self.push_answered(prompt, answer);
            }
            return;
        }
        let pieces = tokens.chunks(self.len).filter(|piece| piece.len() > 1);
        self.lessons.extend(pieces.map(|piece| Lesson {
            tokens: piece.to_vec(),
            ..Lesson::default()
        }));
    }

    /// A long text in windows, so that each token is taught: behind `begin` where there is such a token, else behind
    /// the one before (the very first, then, is not). The last window is as long as the others where the text is:
    /// it begins earlier. Where there is an encoder, as [`Texts::push_text`].
    pub fn push_stream(&mut self, tokens: &[u32], begin: Option<u32>) {
        if self.start.is_some() {
            return self.push_text(tokens);
        }
        // Of the text in a window, and how far the next one is.
        let (width, stride) = match begin {
            Some(_) => (self.len - 1, self.len - 1),
            None => (self.len, self.len - 1),
        };
        let last = tokens.len().saturating_sub(width);
        let mut at = 0;
        loop {
            let start = at.min(last);
            let text = &tokens[start..tokens.len().min(start + width)];
            let window: Vec<u32> = begin.iter().chain(text).copied().collect();
            if window.len() > 1 {
                self.lessons.push(Lesson {
                    tokens: window,
                    ..Lesson::default()
                });
            }
            if at >= last {
                break;
            }
            at += stride;
        }
    }

    /// A prompt, of which the answer alone is taught. What an encoder reads of it ends with the prompt's last token.
    pub fn push_answered(&mut self, prompt: &[u32], answer: &[u32]) {
        let mut lesson = self.begun(prompt);
        lesson.tokens.extend(answer);
        lesson.tokens.truncate(self.len);
        if lesson.first + 1 < lesson.tokens.len() {
            self.lessons.push(lesson);
        }
    }

    /// A prompt without its answer.
    fn begun(&self, prompt: &[u32]) -> Lesson {
        match (self.start, prompt.split_last()) {
            (Some(start), Some((last, rest))) => Lesson {
                prompt: [&rest[..rest.len().min(self.len - 1)], &[*last]].concat(),
                tokens: vec![start],
                first: 0,
            },
            _ => Lesson {
                tokens: prompt.to_vec(),
                first: prompt.len().saturating_sub(1),
                ..Lesson::default()
            },
        }
    }

    /// A prompt that is answered whenever it is taught ([`Texts::batch_by`]), or never.
    pub fn push_prompt(&mut self, prompt: &[u32]) {
        let lesson = self.begun(prompt);
        if (1..self.len).contains(&lesson.tokens.len()) {
            self.lessons.push(lesson);
        }
    }

    /// A prompt, of which what `author` answers now is taught. Tokens are drawn by `seed`.
    ///
    /// # Errors
    /// As [`Session::generate`].
    pub fn push_by(&mut self, prompt: &[u32], author: &mut Author, seed: u64) -> Result<()> {
        let mut lesson = self.begun(prompt);
        self.answer(&mut lesson, author, seed)?;
        if lesson.first + 1 < lesson.tokens.len() {
            self.lessons.push(lesson);
        }
        Ok(())
    }

    /// Adds what `author` answers to a lesson that has no answer yet.
    fn answer(&self, lesson: &mut Lesson, author: &mut Author, seed: u64) -> Result<()> {
        let read = match self.start {
            Some(_) => &lesson.prompt,
            None => &lesson.tokens,
        };
        let answer = author.answer(read, self.len, seed)?;
        lesson.tokens.extend(answer);
        Ok(())
    }

    /// As [`Texts::batch`], of what `author` makes of the prompts now; of a text without a prompt, its first quarter is
    /// one. Tokens are drawn by `seed`.
    ///
    /// # Errors
    /// As [`Session::generate`].
    pub fn batch_by(
        &mut self,
        which: impl IntoIterator<Item = usize>,
        author: &mut Author,
        seed: u64,
        to: Distributions<'_>,
    ) -> Result<Batch> {
        let mut answered = Vec::new();
        for (i, at) in which.into_iter().enumerate() {
            let lesson = &self.lessons[at % self.lessons.len().max(1)];
            let end = match lesson.first {
                0 if self.start.is_none() => lesson.tokens.len().div_ceil(4),
                first => first + 1,
            };
            let mut lesson = lesson.clone();
            lesson.tokens.truncate(end.min(self.len - 1));
            lesson.first = lesson.tokens.len() - 1;
            self.answer(&mut lesson, author, seed.wrapping_add(i as u64))?;
            answered.push(lesson);
        }
        self.taught(&answered, to)
    }

    /// The given sequences as one batch: every row that predicts a token of what is taught, with the target's
    /// distribution there as `to` says, and the token that comes.
    ///
    /// # Errors
    /// As [`Scorer::keep`]; [`Error::Weights`] where the target's logits are not finite.
    pub fn batch(
        &mut self,
        which: impl IntoIterator<Item = usize>,
        to: Distributions<'_>,
    ) -> Result<Batch> {
        let all = self.lessons.len().max(1);
        let chosen = which.into_iter().map(|at| self.lessons[at % all].clone());
        let chosen: Vec<Lesson> = chosen.collect();
        self.taught(&chosen, to)
    }

    fn taught(&mut self, lessons: &[Lesson], mut to: Distributions<'_>) -> Result<Batch> {
        let mut batch = Batch {
            len: self.len,
            prompts: Prompts {
                len: self.start.map_or(0, |_| self.len),
                ..Prompts::default()
            },
            labels: Some(Vec::new()),
            ..Batch::default()
        };
        for (i, lesson) in lessons.iter().enumerate() {
            let taught = lesson.first..lesson.tokens.len() - 1;
            if self.start.is_some() {
                batch.prompts.push(&lesson.prompt);
            }
            batch.tokens.extend(&lesson.tokens);
            batch.tokens.resize((i + 1) * self.len, 0);
            batch
                .rows
                .extend(taught.clone().map(|row| (i * self.len + row) as u32));
            if let Some(labels) = &mut batch.labels {
                labels.extend(&lesson.tokens[lesson.first + 1..]);
            }
        }
        if !matches!(to, Distributions::None) {
            let room = lessons.len() * self.len;
            self.score(lessons, room, &mut batch, &mut to)?;
        }
        Ok(batch)
    }

    /// The target's distributions of all rows that are taught: as many sequences at a time as the scorer has room for.
    fn score(
        &mut self,
        lessons: &[Lesson],
        room: usize,
        batch: &mut Batch,
        to: &mut Distributions<'_>,
    ) -> Result<()> {
        let Some(scorer) = &mut self.scorer else {
            return Err(Error::Usage(
                "no target teaches these texts: they have no distributions".into(),
            ));
        };
        let (mut from, mut at) = (0, 0);
        while from < lessons.len() {
            let mut rows = Vec::new();
            for lesson in &lessons[from..] {
                let taught = lesson.first..lesson.tokens.len() - 1;
                if rows.len() + taught.len() > scorer.kept_rows() {
                    break;
                }
                if self.start.is_some() {
                    scorer.encode(&lesson.prompt)?;
                }
                scorer.keep(&lesson.tokens, taught.clone(), rows.len(), self.temperature)?;
                rows.extend(taught);
                from += 1;
            }
            let sound = to.take(scorer, at, rows.len(), room, batch)?;
            if let Some((row, _)) = rows.iter().zip(sound).find(|(_, sound)| !sound) {
                return Err(Error::Weights(format!(
                    "the target's logits at position {row} are not all finite numbers"
                )));
            }
            at += rows.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Texts;

    fn windows(tokens: u32, begin: Option<u32>) -> Vec<Vec<u32>> {
        let mut texts = Texts {
            scorer: None,
            lessons: Vec::new(),
            len: 4,
            temperature: 1.0,
            start: None,
        };
        let tokens: Vec<u32> = (1..=tokens).collect();
        texts.push_stream(&tokens, begin);
        texts.lessons.into_iter().map(|l| l.tokens).collect()
    }

    #[test]
    fn windows_teach_every_token() {
        let behind = [vec![0, 1, 2, 3], vec![0, 4, 5, 6]];
        assert_eq!(windows(6, Some(0)), behind);
        let more = [&behind[..], &[vec![0, 5, 6, 7]]].concat();
        assert_eq!(windows(7, Some(0)), more);
        assert_eq!(windows(2, Some(0)), [[0, 1, 2]]);
        let one_behind = [[1, 2, 3, 4], [4, 5, 6, 7]];
        assert_eq!(windows(7, None), one_behind);
        assert_eq!(windows(6, None), [[1, 2, 3, 4], [3, 4, 5, 6]]);
        assert!(windows(1, None).is_empty());
        assert!(windows(0, Some(0)).is_empty());
    }
}
