//! Texts that a model learns from: their tokens, and a target's distributions after each of them.

use super::batch::{Batch, Prompts};
use crate::engine::language::{
    Draft, DraftLen, Language, Request, Room, Sampling, Scorer, Session,
};
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
            return Err(Error::Usage(format!(
                "sequences of {len} tokens cannot be taught; expected 2 to {most}"
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
        soft: bool,
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
        self.taught(&answered, soft)
    }

    /// The given sequences as one batch: every row that predicts a token of what is taught, with the target's
    /// distribution where `soft`, and the token that comes.
    ///
    /// # Errors
    /// As [`Scorer::logits`]; [`Error::Weights`] where the target's logits are not finite.
    pub fn batch(&mut self, which: impl IntoIterator<Item = usize>, soft: bool) -> Result<Batch> {
        let all = self.lessons.len().max(1);
        let chosen = which.into_iter().map(|at| self.lessons[at % all].clone());
        let chosen: Vec<Lesson> = chosen.collect();
        self.taught(&chosen, soft)
    }

    fn taught(&mut self, lessons: &[Lesson], soft: bool) -> Result<Batch> {
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
            if soft {
                let Some(scorer) = &mut self.scorer else {
                    return Err(Error::Usage(
                        "no target teaches these texts: they have no distributions".into(),
                    ));
                };
                if self.start.is_some() {
                    scorer.encode(&lesson.prompt)?;
                }
                let logits = scorer.logits(&lesson.tokens)?;
                let vocab = logits.shape()[1];
                let values = logits.to_f32();
                for row in taught {
                    let probs = softmax(&values[row * vocab..][..vocab], self.temperature);
                    batch.probs.extend(probs.ok_or_else(|| {
                        Error::Weights(format!(
                            "the target's logits at position {row} are not all finite numbers"
                        ))
                    })?);
                }
            }
        }
        Ok(batch)
    }
}

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

/// softmax(logits / temperature); `None` where they are no numbers.
fn softmax(logits: &[f32], temperature: f32) -> Option<Vec<f32>> {
    let most = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let e: Vec<f64> = (logits.iter())
        .map(|&v| (f64::from(v - most) / f64::from(temperature)).exp())
        .collect();
    let sum: f64 = e.iter().sum();
    let fine = sum.is_finite() && sum > 0.0;
    fine.then(|| e.into_iter().map(|v| (v / sum) as f32).collect())
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
