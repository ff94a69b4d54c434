//! The configuration of T5 (arXiv 1910.10683), its version 1.1, FLAN-T5 and mT5.

use super::fields::Fields;
use crate::error::Result;

/// The feed-forward's activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `wo(relu(wi(x)))`
    Relu,
    /// `wo(gelu(wi_0(x)) * wi_1(x))`, GELU by the tanh approximation.
    GatedGelu,
}

/// An encoder and a decoder with relative positions.
#[derive(Clone, Debug, PartialEq)]
pub struct T5Config {
    /// Width of the residual stream, `d_model`.
    pub hidden: usize,
    /// Width of a head, `d_kv`; `heads` × `head_dim` need not be `hidden`.
    pub head_dim: usize,
    /// Width between the feed-forward's projections, `d_ff`.
    pub intermediate: usize,
    /// Layers of the encoder.
    pub layers: usize,
    pub decoder_layers: usize,
    pub heads: usize,
    /// Rows of the embedding.
    pub vocab: usize,
    /// Relative distances are sorted into so many buckets; even, for the encoder has half of them for each side.
    pub buckets: usize,
    /// The distance from which on all fall into the last bucket.
    pub max_distance: usize,
    pub activation: Activation,
    /// Added to the mean square in RMS norm.
    pub eps: f64,
    /// Whether the embedding is also the output projection, as the configuration has it. A checkpoint with its own
    /// `lm_head.weight` uses that, whatever this says.
    pub tied: bool,
    /// Whether the decoder's output is scaled by `hidden`^-0.5 before the output projection: where embeddings are
    /// tied, unless the configuration says otherwise.
    pub scale_output: bool,
    /// The decoder's first token.
    pub decoder_start: u32,
    pub pad: Option<u32>,
    pub eos: Vec<u32>,
}

impl T5Config {
    pub(super) fn parse(fields: &Fields, mt5: bool) -> Result<Self> {
        let activation = match fields.text("feed_forward_proj")? {
            Some("relu") => Activation::Relu,
            Some("gated-gelu") => Activation::GatedGelu,
            None if mt5 => Activation::GatedGelu,
            None => Activation::Relu,
            Some(other) => {
                return fields.fault(format_args!(
                    "`feed_forward_proj` is `{}`; expected relu or gated-gelu",
                    other.escape_debug()
                ));
            }
        };
        let buckets = fields
            .maybe_count("relative_attention_num_buckets")?
            .unwrap_or(32);
        let max_distance = fields
            .maybe_count("relative_attention_max_distance")?
            .unwrap_or(128);
        // The decoder's exact buckets are half of all; logarithmic ones need a distance beyond those.
        if !buckets.is_multiple_of(4) || max_distance <= buckets / 2 {
            return fields.fault(format_args!(
                "`relative_attention_num_buckets` is {buckets} and `relative_attention_max_distance` \
                 {max_distance}; expected a multiple of 4, and a distance above half of it"
            ));
        }
        let layers = fields.layers("num_layers")?;
        let vocab = fields.count("vocab_size")?;
        let pad = match fields.get("pad_token_id") {
            None => Some(0),
            Some(_) => fields.id("pad_token_id", vocab)?,
        };
        let Some(decoder_start) = fields.id("decoder_start_token_id", vocab)?.or(pad) else {
            return fields.fault("`decoder_start_token_id` is missing");
        };
        let tied = fields.flag("tie_word_embeddings", true)?;
        Ok(Self {
            hidden: fields.count("d_model")?,
            head_dim: fields.count("d_kv")?,
            intermediate: fields.count("d_ff")?,
            layers,
            decoder_layers: fields.maybe_layers("num_decoder_layers")?.unwrap_or(layers),
            heads: fields.count("num_heads")?,
            vocab,
            buckets,
            max_distance,
            activation,
            eps: fields.maybe_positive("layer_norm_epsilon")?.unwrap_or(1e-6),
            tied,
            // mT5 never scales.
            scale_output: !mt5 && fields.flag("scale_decoder_outputs", tied)?,
            decoder_start,
            pad,
            eos: match fields.get("eos_token_id") {
                None => vec![1],
                Some(_) => fields.ids("eos_token_id", vocab)?,
            },
        })
    }
    /// About how many parameters there are, norms left out; `None` beyond what can be counted.
    pub(super) fn about(&self) -> Option<u64> {
        let n = |of: &[usize]| {
            let product = of.iter().map(|&n| n as u64);
            product.into_iter().try_fold(1u64, u64::checked_mul)
        };
        let attention = n(&[4, self.hidden, self.heads, self.head_dim])?;
        let matrices = match self.activation {
            Activation::Relu => 2,
            Activation::GatedGelu => 3,
        };
        let ffn = n(&[matrices, self.hidden, self.intermediate])?;
        let encoder = attention.checked_add(ffn)?;
        let decoder = encoder.checked_add(attention)?;
        let encoder = encoder.checked_mul(self.layers as u64)?;
        let decoder = decoder.checked_mul(self.decoder_layers as u64)?;
        let tables = if self.tied { 1 } else { 2 };
        let tables = n(&[tables, self.vocab, self.hidden])?;
        encoder.checked_add(decoder)?.checked_add(tables)
    }
}
