//! What a step learns from, and recorded rows of it in a file.

use crate::error::{Error, Result};
use crate::io::Checkpoint;
use crate::tensor::{DType, Tensor};
use std::path::Path;

/// Sequences, rows of them, and the target's distributions there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
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
    tokens: Vec<u32>,
    positions: Vec<u32>,
    probs: Vec<f32>,
}

impl Recorded {
    /// Reads a safetensors file of `tokens` int64 [B, L], `positions` int64 [B, P], the rows of logits that predict,
    /// and `target_probs` f32 [B, P, V].
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
        let (tokens, positions) = (shape_of("tokens"), shape_of("positions"));
        let probs = shape_of("target_probs");
        let shape = match (&tokens[..], &positions[..], &probs[..]) {
            (&[b, l], &[c, p], &[d, q, v]) if b == c && c == d && p == q && b * l * p > 0 => {
                [b, l, p, v]
            }
            _ => {
                return Err(fault(format!(
                    "tokens {tokens:?}, positions {positions:?} and target_probs {probs:?} do not fit; expected \
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
        let out = Self {
            shape,
            tokens: whole("tokens", vocab)?,
            positions: whole("positions", shape[1])?,
            probs: file.tensor("target_probs")?.to_f32(),
        };
        for (i, row) in out.probs.chunks(vocab).enumerate() {
            let sum: f64 = row.iter().map(|&p| f64::from(p)).sum();
            if row.iter().any(|p| !(0.0..=1.001).contains(p)) || (sum - 1.0).abs() > 1e-2 {
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

    /// The given sequences as one batch.
    pub fn batch(&self, which: impl IntoIterator<Item = usize>) -> Batch {
        let [b, l, p, v] = self.shape;
        let mut batch = Batch {
            len: l,
            ..Batch::default()
        };
        for (i, s) in which.into_iter().map(|s| s % b).enumerate() {
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
