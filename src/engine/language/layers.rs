//! The layers of a language model, of whichever kind, and whether a checkpoint has their weights.

use super::model::Room;
use crate::error::{Error, Result};
use crate::graph::{Finished, Graph, Source, Value, Weight};
use crate::io::LanguageFiles;
use crate::models::language::{Addition, Cached, Config};
use crate::models::llama::Llama;
use crate::models::t5::T5;
use crate::tensor::DType;
use std::collections::BTreeSet;

pub(in crate::engine) enum Layers {
    Llama(Box<Llama>),
    T5(Box<T5>),
}

/// Parts of the names of tensors that published checkpoints carry and no model reads.
const SPARE: [&str; 5] = [
    "rotary_emb.",
    "embed_tokens.",
    "lm_head.",
    // The first T5 has one in each decoder, which was never used.
    "EncDecAttention.relative_attention_bias.",
    "attn.masked_bias",
];

impl Layers {
    /// The model that `config` describes, with what `files` have.
    pub fn of(config: &Config, files: &LanguageFiles) -> Self {
        Self::new(config, files.weights.contains("lm_head.weight"))
    }

    /// The model that `config` describes; `own_head` where T5 has an output projection of its own.
    pub fn new(config: &Config, own_head: bool) -> Self {
        match config {
            Config::Decoder(c) => Self::Llama(Box::new(Llama::new(c))),
            Config::T5(c) => Self::T5(Box::new(T5::new(c, own_head))),
        }
    }

    /// See [`super::Language::graph`].
    pub fn graph(
        &self,
        cached: &Cached,
        then: impl for<'g> FnOnce(&'g Graph, Value<'g>),
    ) -> Result<Finished> {
        let g = Graph::new();
        let logits = match self {
            Self::Llama(llama) => llama.logits(llama.hidden(&g, cached)),
            Self::T5(t5) => t5.logits(t5.decode(&g, cached)),
        };
        then(&g, logits);
        g.finish()
    }

    /// See [`super::Language::prefill_graph`].
    pub fn prefill_graph(&self, cached: &Cached) -> Result<Finished> {
        let g = Graph::new();
        let hidden = match self {
            Self::Llama(llama) => llama.hidden(&g, cached),
            Self::T5(t5) => t5.decode(&g, cached),
        };
        g.output("hidden", hidden);
        g.finish()
    }

    /// See [`super::Language::encoder_graph`]; `None` where there is no encoder.
    pub fn encoder_graph(&self, cached: &Cached) -> Option<Result<Finished>> {
        let Self::T5(t5) = self else { return None };
        let g = Graph::new();
        t5.encode(&g, cached);
        Some(g.finish())
    }

    /// All its weights, each once.
    pub fn weights(&self) -> Vec<&Weight> {
        match self {
            Self::Llama(llama) => llama.weights(),
            Self::T5(t5) => t5.weights(),
        }
    }

    /// Low-rank additions to the projections of its layers.
    pub fn additions(&self, rank: usize) -> Vec<Addition<'_>> {
        match self {
            Self::Llama(llama) => llama.additions(rank),
            Self::T5(t5) => t5.additions(rank),
        }
    }

    /// The tensors that it reads.
    pub fn sources(&self) -> Result<BTreeSet<Source>> {
        let room = Room::of(16);
        let cached = Cached {
            rows: 1,
            positions: room.positions,
            capacity: room.capacity,
            window: None,
            elem: DType::F32,
        };
        let mut all = self.graph(&cached, |g, l| g.output("logits", l))?.sources();
        if let Some(graph) = self.encoder_graph(&cached) {
            all.extend(graph?.sources());
        }
        Ok(all)
    }
}

/// Whether the checkpoint has every tensor that the model reads, in its shape, and none that it should read: one of a
/// layer that the configuration does not count, or a bias that it denies.
pub(super) fn fits(layers: &Layers, files: &LanguageFiles) -> Result<()> {
    let wanted = layers.sources()?;
    let names = wanted.iter().map(|s| (s.name.as_str(), s.shape.as_slice()));
    files.weights.fit(names)?;
    let wanted: BTreeSet<&str> = wanted.iter().map(|s| s.name.as_str()).collect();
    let unknown: Vec<&str> = (files.weights.names().into_iter())
        .filter(|name| !wanted.contains(name) && !SPARE.iter().any(|part| name.contains(part)))
        .collect();
    match unknown.first() {
        None => Ok(()),
        Some(first) => Err(Error::Weights(format!(
            "{}: the weights do not fit the configuration; {} of its tensors have no place in the model that {} \
             describes, `{first}` the first",
            files.path.display(),
            unknown.len(),
            files.config_path.display()
        ))),
    }
}
