//! The metadata of a GGUF file as config.json says it.

use super::read::{Info, Meta, one};
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// A file's header.
pub struct About<'a> {
    pub path: &'a Path,
    pub architecture: &'a str,
    pub metadata: &'a BTreeMap<String, Meta>,
    /// By published name.
    pub tensors: &'a BTreeMap<String, Info>,
}

impl About<'_> {
    fn fault<T>(&self, message: impl std::fmt::Display) -> Result<T> {
        Err(Error::file(self.path, message))
    }

    fn get(&self, key: &str) -> Option<&Meta> {
        self.metadata.get(&format!("{}.{key}", self.architecture))
    }

    fn wrong<T>(&self, key: &str, value: &Meta, expected: &str) -> Result<T> {
        let (architecture, found) = (self.architecture, one(value));
        self.fault(format_args!(
            "metadata `{architecture}.{key}` is {found}; expected {expected}"
        ))
    }

    /// A count that may be missing. One for each layer counts where all are equal.
    fn count(&self, key: &str) -> Result<Option<u64>> {
        let whole = |value: &Meta| match value {
            Meta::Unsigned(n) => Some(*n),
            Meta::Signed(n) => u64::try_from(*n).ok(),
            _ => None,
        };
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let found = match value {
            Meta::Array(all) => match all.first() {
                Some(first) if all.iter().all(|v| v == first) => whole(first),
                _ => None,
            },
            value => whole(value),
        };
        match found {
            Some(n) => Ok(Some(n)),
            None => self.wrong(key, value, "a count, the same for each layer"),
        }
    }

    fn needed(&self, key: &str) -> Result<u64> {
        match self.count(key)? {
            Some(n) => Ok(n),
            None => self.fault(format_args!(
                "has no metadata `{}.{key}`",
                self.architecture
            )),
        }
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Meta::Float(n)) => Ok(Some(plain(*n))),
            Some(Meta::Unsigned(n)) => Ok(Some(*n as f64)),
            Some(value) => self.wrong(key, value, "a number"),
        }
    }

    /// The configuration and the size of a head; `factors` divide the rotary frequencies.
    pub fn config(&self, factors: Option<Vec<f32>>) -> Result<(Value, usize)> {
        let qwen = self.architecture == "qwen2";
        let (hidden, heads) = (
            self.needed("embedding_length")?,
            self.needed("attention.head_count")?,
        );
        let head_dim = match self.count("attention.key_length")? {
            Some(n) => n,
            None if heads > 0 => hidden / heads,
            None => 0,
        };
        let dimensions = self.count("rope.dimension_count")?.unwrap_or(head_dim);
        if head_dim == 0
            || !head_dim.is_multiple_of(2)
            || head_dim > 1 << 16
            || dimensions != head_dim
        {
            return self.fault(format_args!(
                "{heads} heads of {head_dim} with {dimensions} rotary dimensions: expected an even size of a head, \
                 all of it rotated"
            ));
        }
        let Some(vocab) =
            (self.tensors.get("model.embed_tokens.weight")).and_then(|t| t.shape.first())
        else {
            return self.fault("has no tensor `token_embd.weight`");
        };
        let has = |name: &str| self.tensors.contains_key(name);
        let mut config = json!({
            "architectures": [if qwen { "Qwen2ForCausalLM" } else { "LlamaForCausalLM" }],
            "model_type": self.architecture,
            "hidden_act": "silu",
            "hidden_size": hidden,
            "num_hidden_layers": self.needed("block_count")?,
            "num_attention_heads": heads,
            "num_key_value_heads": self.count("attention.head_count_kv")?.unwrap_or(heads),
            "head_dim": head_dim,
            "intermediate_size": self.needed("feed_forward_length")?,
            "vocab_size": vocab,
            "max_position_embeddings": self.needed("context_length")?,
            "tie_word_embeddings": !has("lm_head.weight"),
            "rope_parameters": self.rotary(factors)?,
        });
        let Some(fields) = config.as_object_mut() else {
            return self.fault("has no configuration");
        };
        let epsilon = "attention.layer_norm_rms_epsilon";
        match self.number(epsilon)? {
            Some(n) => fields.insert("rms_norm_eps".into(), json!(n)),
            None => {
                return self.fault(format_args!(
                    "has no metadata `{}.{epsilon}`",
                    self.architecture
                ));
            }
        };
        if !qwen {
            let bias = has("model.layers.0.self_attn.q_proj.bias");
            fields.insert("attention_bias".into(), bias.into());
            fields.insert(
                "mlp_bias".into(),
                has("model.layers.0.mlp.up_proj.bias").into(),
            );
        }
        for (key, field) in [
            ("bos", "bos_token_id"),
            ("eos", "eos_token_id"),
            ("padding", "pad_token_id"),
        ] {
            if let Some(Meta::Unsigned(id)) =
                self.metadata.get(&format!("tokenizer.ggml.{key}_token_id"))
            {
                fields.insert(field.into(), (*id).into());
            }
        }
        Ok((config, head_dim as usize))
    }

    fn rotary(&self, factors: Option<Vec<f32>>) -> Result<Value> {
        let mut out = Map::new();
        out.insert(
            "rope_theta".into(),
            self.number("rope.freq_base")?.unwrap_or(10000.0).into(),
        );
        let kind = match self.get("rope.scaling.type") {
            None if self.get("rope.scale_linear").is_some() => "linear",
            None => "default",
            Some(Meta::Text(kind)) if kind == "none" => "default",
            Some(Meta::Text(kind)) => kind,
            Some(value) => return self.wrong("rope.scaling.type", value, "text"),
        };
        let kind = match factors {
            Some(factors) if kind == "default" => {
                out.insert("factors".into(), factors.into());
                "factors"
            }
            Some(_) => {
                return self.fault(format_args!(
                    "has both `rope_freqs.weight` and rotary scaling of type `{kind}`; expected one of them"
                ));
            }
            None => kind,
        };
        out.insert("rope_type".into(), kind.into());
        let factor = match self.number("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.number("rope.scale_linear")?,
        };
        if let Some(factor) = factor.filter(|_| kind != "default" && kind != "factors") {
            out.insert("factor".into(), factor.into());
        }
        Ok(out.into())
    }
}

/// An f32 as the decimal number that it was written from: 1e-5, not 9.999999747378752e-6.
fn plain(value: f64) -> f64 {
    let narrow = value as f32;
    if f64::from(narrow) == value {
        narrow.to_string().parse().unwrap_or(value)
    } else {
        value
    }
}
