//! What language models have in common: what config.json says, which model it is and its numbers, caches, and weights
//! that are trained.

mod cached;
mod decoder;
mod fields;
mod rotary;
mod t5;
mod train;

pub use cached::{Cached, SLACK};
pub use decoder::{DecoderConfig, Family};
pub use rotary::{Rotary, Scaling, rotary_table};
pub use t5::{Activation, T5Config};
pub use train::{Addition, Training, trained};

use crate::error::Result;
use crate::io::LanguageFiles;
use fields::Fields;
use serde_json::Value;
use std::path::Path;

/// The configuration of a language model.
#[derive(Clone, Debug, PartialEq)]
pub enum Config {
    /// Llama and what has its layers: Mistral without a sliding window, Qwen2.
    Decoder(DecoderConfig),
    /// T5, its version 1.1, FLAN-T5 and mT5.
    T5(T5Config),
}

impl Config {
    /// Reads config.json; `path` is what messages name.
    ///
    /// # Errors
    /// [`crate::Error::File`], one line that names the field: an architecture, activation or rotary type that is
    /// not built, a number that cannot be, or two that contradict each other.
    pub fn parse(path: &Path, config: &Value) -> Result<Self> {
        let fields = Fields::new(path, config)?;
        // The class of the model's file where it is named, else its type.
        let class = (config.get("architectures"))
            .and_then(|a| a.get(0)?.as_str())
            .or_else(|| {
                let kind = config.get("model_type")?.as_str()?;
                let classes = [
                    ("llama", "LlamaForCausalLM"),
                    ("mistral", "MistralForCausalLM"),
                    ("qwen2", "Qwen2ForCausalLM"),
                    ("t5", "T5ForConditionalGeneration"),
                    ("mt5", "MT5ForConditionalGeneration"),
                ];
                let known = classes.iter().find(|(k, _)| *k == kind);
                Some(known.map_or(kind, |(_, class)| class))
            });
        match class {
            Some("LlamaForCausalLM") => DecoderConfig::parse(&fields, Family::Llama).map(Config::Decoder),
            Some("MistralForCausalLM") => DecoderConfig::parse(&fields, Family::Mistral).map(Config::Decoder),
            Some("Qwen2ForCausalLM") => DecoderConfig::parse(&fields, Family::Qwen2).map(Config::Decoder),
            Some("T5ForConditionalGeneration") => T5Config::parse(&fields, false).map(Config::T5),
            Some("MT5ForConditionalGeneration") => T5Config::parse(&fields, true).map(Config::T5),
            Some(other) => fields.fault(format_args!(
                "`architectures` is `{}`; built are LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, \
                 T5ForConditionalGeneration and MT5ForConditionalGeneration",
                other.escape_debug()
            )),
            None => fields.fault("names no model: expected `architectures` or `model_type`"),
        }
    }

    /// The configuration of the model that `files` are. Errors as [`Config::parse`].
    pub fn of(files: &LanguageFiles) -> Result<Self> {
        Self::parse(&files.config_path, &files.config)
    }

    /// The number of token ids that the model's embedding has; a tokenizer may have fewer.
    pub fn vocab(&self) -> usize {
        match self {
            Config::Decoder(config) => config.vocab,
            Config::T5(config) => config.vocab,
        }
    }

    /// About how many parameters the model has; `None` beyond what can be counted.
    pub fn about(&self) -> Option<u64> {
        match self {
            Config::Decoder(config) => config.about(),
            Config::T5(config) => config.about(),
        }
    }

    /// The tokens that end a text.
    pub fn eos(&self) -> &[u32] {
        match self {
            Config::Decoder(config) => &config.eos,
            Config::T5(config) => &config.eos,
        }
    }
}
