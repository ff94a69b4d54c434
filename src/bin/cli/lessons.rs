//! What `distill` learns from, by the kind of its file.

use super::distill::{Args, Source};
use cascadia::engine::distill::{Author, Batch, Distributions, Recorded, Texts, Trainer, mixed};
use cascadia::engine::language::Language;
use cascadia::io::text::Tokenizer;
use cascadia::io::{LanguageFiles, read_text};
use cascadia::models::language::Config;
use cascadia::plan::Options;
use cascadia::{Error, Result};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// Recorded rows, or texts and who teaches them.
pub enum Lessons {
    Recorded(Recorded),
    Texts(Box<Texts>),
}

impl Lessons {
    /// Those in `args.data`, for `draft`; a target is run as `options` say.
    pub fn open(
        args: &Args,
        options: &Options,
        draft: &Language,
        target: Option<LanguageFiles>,
    ) -> Result<Self> {
        let path = &args.data;
        let ending = |end: &str| ends(path, end);
        let vocab = draft.config().vocab();
        if ending("safetensors") {
            if args.source != Source::Teacher {
                return Err(Error::Usage(
                    "recorded rows are learned as they were recorded; --source student and mixed are for texts".into(),
                ));
            }
            let rows = Recorded::open(path, vocab)?;
            if let Some(most) = draft.max_positions().filter(|&most| rows.length() > most) {
                return Err(Error::file(
                    path,
                    format!(
                        "has sequences of {} tokens; the draft was made for {most} at most",
                        rows.length()
                    ),
                ));
            }
            return match (draft.has_encoder(), rows.has_prompts()) {
                (true, false) => Err(Error::file(
                    path,
                    "has no tensor `decoder_tokens`, which a draft with an encoder needs beside what that reads, `tokens`",
                )),
                (false, true) => Err(Error::file(
                    path,
                    "has `decoder_tokens`, and the draft has no encoder for its `tokens`",
                )),
                _ => Ok(Self::Recorded(rows)),
            };
        }
        let Some(target) = target else {
            return Err(Error::Usage(format!(
                "--target is missing: {} is no file of recorded rows, so a model must teach it",
                path.display()
            )));
        };
        let Some(tokenizer) = target.tokenizer()? else {
            return Err(Error::Usage(format!(
                "{} has no tokenizer.json, which texts need",
                target.path.display()
            )));
        };
        if let Some(theirs) = draft
            .files()
            .map(LanguageFiles::tokenizer)
            .transpose()?
            .flatten()
        {
            tokenizer.agree(&theirs)?;
        }
        let target = Language::open(draft.device(), Arc::new(target), options)?;
        if target.config().vocab() != vocab {
            return Err(Error::Usage(format!(
                "the draft's vocabulary has {vocab} tokens, the target's {}: they must be the same",
                target.config().vocab()
            )));
        }
        if target.has_encoder() != draft.has_encoder() {
            return Err(Error::Usage(
                "of the draft and the target one has an encoder: both must be of one kind".into(),
            ));
        }
        let target = Arc::new(target);
        let mut texts = Texts::new(&target, args.training.length(), args.temperature)?;
        let text = read_text(path)?;
        match ending("jsonl") || ending("json") {
            true => lines(path, &text, &tokenizer, args, &target, &mut texts)?,
            false => {
                let tokens = tokenizer.encode(&text, false)?;
                texts.push_stream(&tokens, begin(&tokenizer, target.config()));
            }
        }
        if texts.sequences() == 0 {
            return Err(Error::file(
                path,
                "holds nothing to learn: expected a text of at least two tokens",
            ));
        }
        Ok(Self::Texts(Box::new(texts)))
    }

    pub fn sequences(&self) -> usize {
        match self {
            Self::Recorded(rows) => rows.sequences(),
            Self::Texts(texts) => texts.sequences(),
        }
    }

    /// Whether they are taken in the order of the file: what was recorded is, so that others can do the same.
    pub fn ordered(&self) -> bool {
        matches!(self, Self::Recorded(_))
    }

    /// The given sequences, with distributions as `to` says; written by `student` where there is one.
    pub fn batch(
        &mut self,
        which: Vec<usize>,
        to: Distributions<'_>,
        student: Option<(&mut Author, u64)>,
    ) -> Result<Batch> {
        match (self, student) {
            (Self::Recorded(rows), _) => Ok(rows.batch(which)),
            (Self::Texts(texts), None) => texts.batch(which, to),
            (Self::Texts(texts), Some((author, seed))) => texts.batch_by(which, author, seed, to),
        }
    }
}

/// The draft as a writer of what it learns, where the source says so.
#[derive(Default)]
pub struct Student {
    author: Option<Author>,
}

impl Student {
    /// For the next step: the draft, by its weights of at most 8 steps before, where it is its turn; `anew` by those of
    /// now, so that a training that goes on from what was saved is as one that went on.
    pub fn turn(
        &mut self,
        args: &Args,
        trainer: &Trainer,
        anew: bool,
    ) -> Result<Option<(&mut Author, u64)>> {
        const FRESH: u64 = 8;
        if anew {
            self.author = None;
        }
        let step = trainer.steps();
        let seed = mixed(args.training.seed ^ mixed(step));
        let its = match args.source {
            Source::Teacher => false,
            Source::Student => true,
            Source::Mixed => seed.is_multiple_of(2),
        };
        if !its {
            return Ok(None);
        }
        if self.author.is_none() || step.is_multiple_of(FRESH) {
            let draft = trainer.student()?;
            let author = Author::new(
                &draft,
                args.training.length(),
                args.temperature,
                args.max_new(),
            )?;
            self.author = Some(author);
        }
        Ok(self.author.as_mut().map(|author| (author, seed)))
    }
}

/// The token that begins a text: the tokenizer's, else the configuration's.
pub fn begin(tokenizer: &Tokenizer, config: &Config) -> Option<u32> {
    let said = match config {
        Config::Decoder(config) => config.bos,
        Config::T5(_) => None,
    };
    tokenizer.bos().or(said)
}

/// Whether the name of `path` ends in .`end`.
pub fn ends(path: &Path, end: &str) -> bool {
    path.extension().is_some_and(|e| e == end)
}

/// What the lines of a .jsonl file say, but for empty ones.
pub fn objects(path: &Path, text: &str) -> Result<Vec<Value>> {
    let used = |line: &&str| !line.trim().is_empty();
    (text.lines().filter(used).enumerate())
        .map(|(i, line)| {
            serde_json::from_str(line).map_err(|e| {
                Error::file(path, format!("text {}: expected a JSON object: {e}", i + 1))
            })
        })
        .collect()
}

/// One object a line.
fn lines(
    path: &Path,
    text: &str,
    tokenizer: &Tokenizer,
    args: &Args,
    target: &Arc<Language>,
    texts: &mut Texts,
) -> Result<()> {
    // The student answers prompts while it learns.
    let mut author = match args.source {
        Source::Student => None,
        _ => Some(Author::new(
            target,
            args.training.length(),
            args.temperature,
            args.max_new(),
        )?),
    };
    let objects = objects(path, text)?;
    let said: Vec<[Option<&str>; 3]> = (objects.iter())
        .map(|o| ["text", "prompt", "answer"].map(|name| o.get(name)?.as_str()))
        .collect();
    let alone = said.iter().filter(|s| s[1..] == [None, None]);
    let alone: Vec<&str> = alone.filter_map(|s| s[0]).collect();
    let mut alone = tokenizer.encode_all(&alone)?.into_iter();
    let first = begin(tokenizer, target.config());
    for (i, &[text, prompt, answer]) in said.iter().enumerate() {
        match (text, prompt, answer) {
            (Some(_), None, None) => {
                let tokens = alone.next().unwrap_or_default();
                texts.push_stream(&tokens, first);
            }
            (Some(answer), Some(prompt), None) | (None, Some(prompt), Some(answer)) => {
                let prompt = tokenizer.prompt(prompt)?;
                texts.push_answered(&prompt, &tokenizer.encode(answer, false)?);
            }
            (None, Some(prompt), None) => {
                let prompt = tokenizer.prompt(prompt)?;
                let seed = args.training.seed.wrapping_add(i as u64);
                match &mut author {
                    Some(author) => texts.push_by(&prompt, author, seed)?,
                    None => texts.push_prompt(&prompt),
                }
            }
            _ => {
                let expected = "expected `text`, or `prompt` and maybe `answer` (or `text`)";
                return Err(Error::file(path, format!("text {}: {expected}", i + 1)));
            }
        }
    }
    Ok(())
}

/// In which order sequences are taken: that of the file over and over, or each time another one.
pub struct Order {
    sequences: usize,
    ordered: bool,
    seed: u64,
    /// How many were taken.
    at: usize,
    /// The present round's.
    round: Vec<usize>,
}

impl Order {
    pub fn new(sequences: usize, ordered: bool, seed: u64) -> Self {
        Self {
            sequences,
            ordered,
            seed,
            at: 0,
            round: Vec::new(),
        }
    }

    /// Goes on as if `n` had been taken.
    pub fn skip(&mut self, n: usize) {
        self.at = self.at.saturating_add(n);
        self.round.clear();
    }

    /// The next `n`.
    pub fn next(&mut self, n: usize) -> Vec<usize> {
        (0..n).map(|_| self.one()).collect()
    }

    fn one(&mut self) -> usize {
        let (round, place) = (self.at / self.sequences, self.at % self.sequences);
        if place == 0 || self.round.is_empty() {
            self.round = (0..self.sequences).collect();
            if !self.ordered {
                let key = |i: &usize| mixed(mixed(self.seed ^ round as u64) ^ *i as u64);
                self.round.sort_by_key(key);
            }
        }
        self.at = self.at.saturating_add(1);
        self.round[place]
    }
}

#[cfg(test)]
mod tests {
    use super::Order;

    #[test]
    fn every_round_takes_each_once() {
        let mut shuffled = Order::new(5, false, 3);
        let rounds: Vec<Vec<usize>> = (0..4).map(|_| shuffled.next(5)).collect();
        for round in &rounds {
            let mut sorted = round.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
        }
        assert!(rounds.windows(2).any(|w| w[0] != w[1]));
        let mut later = Order::new(5, false, 3);
        later.skip(5);
        assert_eq!(later.next(5), rounds[1]);
        assert_eq!(Order::new(3, true, 9).next(7), [0, 1, 2, 0, 1, 2, 0]);
    }
}
