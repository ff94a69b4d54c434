//! The configuration of Llama (arXiv 2302.13971) and of the models that have its layers.

use super::fields::Fields;
use super::rotary::Rotary;
use crate::error::Result;

/// Whose configuration it is; their layers are the same but for what the fields say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Llama,
    Mistral,
    Qwen2,
}

/// A decoder of pre-normalised layers: attention with rotary positions and grouped heads, then SwiGLU.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    pub family: Family,
    /// Width of the residual stream.
    pub hidden: usize,
    pub layers: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head, even. `heads` × `head_dim` need not be `hidden`.
    pub head_dim: usize,
    /// Width between the feed-forward's projections.
    pub intermediate: usize,
    /// Rows of the embedding.
    pub vocab: usize,
    /// Added to the mean square in RMS norm.
    pub eps: f64,
    pub rotary: Rotary,
    /// The positions that the model was trained for.
    pub max_positions: usize,
    /// Whether the embedding is also the output projection.
    pub tied: bool,
    /// Whether the projections of q, k and v have a bias.
    pub qkv_bias: bool,
    /// Whether the projection after attention has a bias.
    pub output_bias: bool,
    /// Whether the feed-forward's projections have one.
    pub mlp_bias: bool,
    /// Tokens that end a text, by config.json; generation_config.json may say others.
    pub eos: Vec<u32>,
    pub bos: Option<u32>,
}

impl DecoderConfig {
    pub(super) fn parse(fields: &Fields, family: Family) -> Result<Self> {
        let hidden = fields.count("hidden_size")?;
        let heads = fields.count("num_attention_heads")?;
        let kv_heads = fields.maybe_count("num_key_value_heads")?.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            return fields.fault(format_args!(
                "`num_attention_heads` is {heads}, no multiple of `num_key_value_heads`, {kv_heads}"
            ));
        }
        let head_dim = match fields.maybe_count("head_dim")? {
            Some(given) => given,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => {
                return fields.fault(format_args!(
                    "`hidden_size` is {hidden}, no multiple of `num_attention_heads`, {heads}, and no `head_dim` is \
                     given"
                ));
            }
        };
        if !head_dim.is_multiple_of(2) {
            return fields.fault(format_args!(
                "`head_dim` is {head_dim}; expected an even size: rotary positions turn pairs"
            ));
        }
        let act = fields.text("hidden_act")?.unwrap_or("silu");
        if act != "silu" && act != "swish" {
            return fields.fault(format_args!("`hidden_act` is `{act}`; expected silu"));
        }
        let windowed = match family {
            Family::Llama => false,
            Family::Mistral => fields.get("sliding_window").is_some(),
            Family::Qwen2 => fields.flag("use_sliding_window", false)?,
        };
        let sliding = |v: &serde_json::Value| v.as_str() != Some("full_attention");
        let layer_types = fields.get("layer_types").and_then(|v| v.as_array());
        if windowed || layer_types.is_some_and(|all| all.iter().any(sliding)) {
            return fields.fault(
                "its attention has a sliding window (`sliding_window`, `layer_types`), which is not built; expected \
                 full attention in every layer",
            );
        }
        let vocab = fields.count("vocab_size")?;
        let max_positions = fields.count("max_position_embeddings")?;
        let attention_bias = family == Family::Llama && fields.flag("attention_bias", false)?;
        Ok(Self {
            family,
            hidden,
            layers: fields.layers("num_hidden_layers")?,
            heads,
            kv_heads,
            head_dim,
            intermediate: fields.count("intermediate_size")?,
            vocab,
            eps: fields.maybe_positive("rms_norm_eps")?.unwrap_or(1e-6),
            rotary: Rotary::parse(fields, head_dim, max_positions)?,
            max_positions,
            tied: fields.flag("tie_word_embeddings", false)?,
            qkv_bias: attention_bias || family == Family::Qwen2,
            output_bias: attention_bias,
            mlp_bias: family == Family::Llama && fields.flag("mlp_bias", false)?,
            eos: fields.ids("eos_token_id", vocab)?,
            bos: fields.id("bos_token_id", vocab)?,
        })
    }

    /// Width of all queries together.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all keys, or of all values, together.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// About how many parameters there are, biases and norms left out; `None` beyond what can be counted.
    pub(super) fn about(&self) -> Option<u64> {
        let n = |of: &[usize]| {
            let product = of.iter().map(|&n| n as u64);
            product.into_iter().try_fold(1u64, u64::checked_mul)
        };
        let (hidden, wide) = (self.hidden, self.intermediate);
        let attention = n(&[2, hidden, self.heads, self.head_dim])?.checked_add(n(&[
            2,
            hidden,
            self.kv_heads,
            self.head_dim,
        ])?)?;
        let layer = attention.checked_add(n(&[3, hidden, wide])?)?;
        let tables = if self.tied { 1 } else { 2 };
        (layer.checked_mul(self.layers as u64)?).checked_add(n(&[tables, self.vocab, hidden])?)
    }

    /// The name and shape of each tensor of the checkpoint, matrices as [N out, K in].
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, wide) = (self.hidden, self.intermediate);
        let (q, kv) = (self.query_width(), self.kv_width());
        let mut all = vec![
            (
                "model.embed_tokens.weight".to_string(),
                vec![self.vocab, hidden],
            ),
            ("model.norm.weight".to_string(), vec![hidden]),
        ];
        if !self.tied {
            all.push(("lm_head.weight".to_string(), vec![self.vocab, hidden]));
        }
        let projections = [
            ("self_attn.q_proj", q, hidden, self.qkv_bias),
            ("self_attn.k_proj", kv, hidden, self.qkv_bias),
            ("self_attn.v_proj", kv, hidden, self.qkv_bias),
            ("self_attn.o_proj", hidden, q, self.output_bias),
            ("mlp.gate_proj", wide, hidden, self.mlp_bias),
            ("mlp.up_proj", wide, hidden, self.mlp_bias),
            ("mlp.down_proj", hidden, wide, self.mlp_bias),
        ];
        for layer in 0..self.layers {
            let at = format!("model.layers.{layer}");
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                all.push((format!("{at}.{norm}.weight"), vec![hidden]));
            }
            for (name, n, k, bias) in projections {
                all.push((format!("{at}.{name}.weight"), vec![n, k]));
                if bias {
                    all.push((format!("{at}.{name}.bias"), vec![n]));
                }
            }
        }
        all
    }
}
