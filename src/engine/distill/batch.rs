//! What a step learns from, and recorded rows of it in a file.

use crate::error::{Error, Result};
use crate::io::Checkpoint;
use crate::tensor::{DType, Tensor};
use std::path::Path;

/// What an encoder reads of each sequence; nothing where the model has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompts {
    /// Tokens of a prompt; shorter ones are padded behind with any token.
    pub len: usize,
    /// [sequences, len]
    pub tokens: Vec<u32>,
    /// [sequences]: tokens of each without its padding.
    pub lengths: Vec<u32>,
}

impl Prompts {
    /// One more of up to `len` tokens.
    pub fn push(&mut self, prompt: &[u32]) {
        self.tokens.extend(prompt);
        self.lengths.push(prompt.len() as u32);
        self.tokens.resize(self.lengths.len() * self.len, 0);
    }

    fn check(&self, sequences: usize, vocab: usize) -> Result<()> {
        let Self {
            len,
            tokens,
            lengths,
        } = self;
        let fit = *len == 0 || lengths.len() == sequences;
        if !fit || tokens.len() != lengths.len() * len {
            return Err(Error::Usage(format!(
                "{} prompts and {} tokens of prompts of {len} for {sequences} sequences",
                lengths.len(),
                tokens.len()
            )));
        }
        if let Some(long) = lengths.iter().find(|&&n| n as usize > *len) {
            return Err(Error::Usage(format!(
                "a prompt of {long} tokens where prompts have {len}"
            )));
        }
        match tokens.iter().find(|&&t| t as usize >= vocab) {
            Some(token) => Err(Error::Usage(format!(
                "token {token} of a prompt is beyond the vocabulary of {vocab}"
            ))),
            None => Ok(()),
        }
    }
}

/// Sequences, rows of them, and the target's distributions there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pub prompts: Prompts,
    /// Tokens of a sequence; shorter ones are padded behind with any token.
    pub len: usize,
    /// [sequences, len]
    pub tokens: Vec<u32>,
    /// The rows, sequence · len + position, whose logits predict what is learned. Each at most once.
    pub rows: Vec<u32>,
    /// f32 [rows, vocabulary]: the target's probabilities; may be empty where there are labels and the loss is
    /// cross-entropy, or with `slots`.
    pub probs: Vec<f32>,
    /// [rows]: where they lie in the trainer's table ([`super::Trainer::take`]), where they do not come along.
    pub slots: Vec<u32>,
    /// The tokens that cross-entropy takes for true; what the target holds likeliest where `None`.
    pub labels: Option<Vec<u32>>,
}

impl Batch {
    pub fn sequences(&self) -> usize {
        self.tokens.len() / self.len.max(1)
    }

    /// # Errors
    /// [`Error::Usage`] where it does not fit together or is beyond a `vocab`. `hard`: labels will do.
    pub fn check(&self, vocab: usize, hard: bool) -> Result<()> {
        let refuse = |message: String| Err(Error::Usage(message));
        if self.rows.is_empty() || self.len == 0 || !self.tokens.len().is_multiple_of(self.len) {
            return refuse(format!(
                "a batch of {} tokens in sequences of {} with {} rows teaches nothing: expected at least one of each",
                self.tokens.len(),
                self.len,
                self.rows.len()
            ));
        }
        if let Some(token) = self.tokens.iter().find(|&&t| t as usize >= vocab) {
            return refuse(format!("token {token} is beyond the vocabulary of {vocab}"));
        }
        if let Some(row) = self.rows.iter().find(|&&r| r as usize >= self.tokens.len()) {
            return refuse(format!(
                "row {row} is beyond the {} tokens of the batch",
                self.tokens.len()
            ));
        }
        self.prompts.check(self.sequences(), vocab)?;
        let labels = self.labels.as_deref();
        if let Some(labels) = labels.filter(|l| l.len() != self.rows.len()) {
            return refuse(format!(
                "{} labels for {} rows",
                labels.len(),
                self.rows.len()
            ));
        }
        if hard && labels.is_some() {
            return Ok(());
        }
        if !hard && self.probs.is_empty() && self.slots.len() == self.rows.len() {
            return Ok(());
        }
        if self.probs.len() != self.rows.len() * vocab {
            return refuse(format!(
                "{} probabilities for {} rows of a vocabulary of {vocab}",
                self.probs.len(),
                self.rows.len()
            ));
        }
        Ok(())
    }
}

/// Recorded rows: of B sequences of L tokens, P positions each and the target's distributions there.
#[derive(Debug)]
pub struct Recorded {
    /// [B, L, P, V]
    shape: [usize; 4],
    prompts: Prompts,
    tokens: Vec<u32>,
    positions: Vec<u32>,
    probs: Vec<f32>,
}

impl Recorded {
    /// Reads a safetensors file of `tokens` int64 [B, L], `positions` int64 [B, P], the rows of logits that predict,
    /// and `target_probs` f32 [B, P, V]. With `decoder_tokens` int64 [B, L2], `tokens` are what an encoder reads, all of
    /// them or the first `lengths` int64 [B], and positions are those of `decoder_tokens`.
    ///
    /// # Errors
    /// [`Error::File`], one line, where they are not there, do not fit each other or a vocabulary of `vocab`, or where
    /// a row is no distribution.
    pub fn open(path: &Path, vocab: usize) -> Result<Self> {
        let file = Checkpoint::open(path)?;
        let fault = |message: String| Error::file(path, message);
        for name in ["tokens", "positions", "target_probs"] {
            if !file.contains(name) {
                return Err(fault(format!(
                    "has no tensor `{name}`; expected tokens int64 [B, L], positions int64 [B, P] and target_probs \
                     f32 [B, P, V]"
                )));
            }
        }
        let shape_of = |name: &str| file.shape(name).unwrap_or_default().to_vec();
        let encoder = file.contains("decoder_tokens");
        let written = if encoder { "decoder_tokens" } else { "tokens" };
        let (tokens, positions) = (shape_of(written), shape_of("positions"));
        let probs = shape_of("target_probs");
        let shape = match (&tokens[..], &positions[..], &probs[..]) {
            (&[b, l], &[c, p], &[d, q, v]) if b == c && c == d && p == q && b * l * p > 0 => {
                [b, l, p, v]
            }
            _ => {
                return Err(fault(format!(
                    "{written} {tokens:?}, positions {positions:?} and target_probs {probs:?} do not fit; expected \
                     [B, L], [B, P] and [B, P, V]"
                )));
            }
        };
        if shape[3] != vocab {
            return Err(fault(format!(
                "target_probs are of {} tokens, the draft's vocabulary has {vocab}",
                shape[3]
            )));
        }
        let whole = |name: &str, below: usize| -> Result<Vec<u32>> {
            let values = whole_numbers(&file.tensor(name)?)
                .ok_or_else(|| fault(format!("`{name}` must hold whole numbers (int64)")))?;
            let fits = |&v: &i64| (0..below as i64).contains(&v);
            match values.iter().find(|v| !fits(v)) {
                Some(v) => Err(fault(format!(
                    "`{name}` holds {v}; expected 0 to {}",
                    below - 1
                ))),
                None => Ok(values.into_iter().map(|v| v as u32).collect()),
            }
        };
        let prompts = match encoder {
            true => {
                let (read, lengths) = (shape_of("tokens"), shape_of("lengths"));
                let (&[b, len], true) = (&read[..], [vec![], vec![shape[0]]].contains(&lengths))
                else {
                    return Err(fault(format!(
                        "tokens {read:?} and lengths {lengths:?} do not fit; expected [B, L] and [B]"
                    )));
                };
                if b != shape[0] || len == 0 {
                    return Err(fault(format!(
                        "tokens {read:?} and decoder_tokens {tokens:?} do not fit; expected [B, L] and [B, L2]"
                    )));
                }
                Prompts {
                    len,
                    tokens: whole("tokens", vocab)?,
                    lengths: match lengths.is_empty() {
                        true => vec![len as u32; b],
                        false => whole("lengths", len + 1)?,
                    },
                }
            }
            false => Prompts::default(),
        };
        let out = Self {
            shape,
            prompts,
            tokens: whole(written, vocab)?,
            positions: whole("positions", shape[1])?,
            probs: file.tensor("target_probs")?.to_f32(),
        };
        for (i, row) in out.probs.chunks(vocab).enumerate() {
            if let Some(p) = row.iter().find(|p| !(0.0..=1.001).contains(*p)) {
                return Err(fault(format!(
                    "row {i} of target_probs has a probability of {p}; expected 0 to 1"
                )));
            }
            let sum: f64 = row.iter().map(|&p| f64::from(p)).sum();
            if (sum - 1.0).abs() > 1e-2 {
                return Err(fault(format!(
                    "row {i} of target_probs sums to {sum:.4}; expected a distribution"
                )));
            }
        }
        for (i, row) in out.positions.chunks(shape[2]).enumerate() {
            let mut sorted = row.to_vec();
            sorted.sort_unstable();
            if let Some(twice) = sorted.windows(2).find(|w| w[0] == w[1]) {
                return Err(fault(format!(
                    "sequence {i} has position {} more than once",
                    twice[0]
                )));
            }
        }
        Ok(out)
    }

    pub fn sequences(&self) -> usize {
        self.shape[0]
    }

    /// Tokens of a sequence.
    pub fn length(&self) -> usize {
        self.shape[1]
    }

    /// Whether they are of a model with an encoder.
    pub fn has_prompts(&self) -> bool {
        self.prompts.len > 0
    }

    /// The given sequences as one batch.
    pub fn batch(&self, which: impl IntoIterator<Item = usize>) -> Batch {
        let [b, l, p, v] = self.shape;
        let all = &self.prompts;
        let mut batch = Batch {
            len: l,
            prompts: Prompts {
                len: all.len,
                ..Prompts::default()
            },
            ..Batch::default()
        };
        for (i, s) in which.into_iter().map(|s| s % b).enumerate() {
            if let Some(&length) = all.lengths.get(s) {
                batch
                    .prompts
                    .push(&all.tokens[s * all.len..][..length as usize]);
            }
            batch.tokens.extend(&self.tokens[s * l..(s + 1) * l]);
            let positions = &self.positions[s * p..(s + 1) * p];
            let rows = positions.iter().map(|&at| (i * l) as u32 + at);
            batch.rows.extend(rows);
            batch.probs.extend(&self.probs[s * p * v..(s + 1) * p * v]);
        }
        batch
    }
}

/// Integers as they are; of floats, none.
fn whole_numbers(tensor: &Tensor) -> Option<Vec<i64>> {
    match tensor.dtype() {
        DType::I64 => {
            let (values, _) = tensor.bytes().as_chunks::<8>();
            Some(values.iter().map(|&b| i64::from_le_bytes(b)).collect())
        }
        DType::U32 => Some(tensor.to_u32().into_iter().map(i64::from).collect()),
        _ => None,
    }
}

/// The token of the largest of `probs`.
pub(super) fn likeliest(probs: &[f32]) -> u32 {
    let best = (probs.iter().enumerate()).max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |b| b.0 as u32)
}

/// The least of few sizes, 1, 2, 4, 8, 12, 16, 24, 32 …, that is at least `n`: each size of a batch needs a plan.
pub(crate) fn few(n: usize) -> usize {
    let twice = n.next_power_of_two();
    let between = twice / 4 * 3;
    match between >= n.max(12) {
        true => between,
        false => twice,
    }
}

/// The largest of those that is at most `n`; 1 where that is 0.
pub(crate) fn few_below(n: usize) -> usize {
    let half = (n.max(1) / 2 + 1).next_power_of_two();
    let between = half / 2 * 3;
    match between <= n && between >= 12 {
        true => between,
        false => half,
    }
}

#[cfg(test)]
mod tests {
    use super::{few, few_below};

    #[test]
    fn sizes_are_few() {
        let sizes: Vec<usize> = (1..=40).map(few).collect();
        let mut known = sizes.clone();
        known.dedup();
        assert_eq!(known, [1, 2, 4, 8, 12, 16, 24, 32, 48]);
        for n in 1..=40 {
            assert!(sizes[n - 1] >= n);
            let below = few_below(n);
            assert!(
                below <= n && few(below) == below && few(below + 1) > n,
                "{n}"
            );
        }
    }
}
