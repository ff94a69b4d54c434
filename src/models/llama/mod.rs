//! Llama (Touvron et al., arXiv 2302.13971) and the models that have its layers: Mistral, Qwen2 (arXiv 2407.10671).
//!
//! A stack of pre-normalised layers, attention with rotary positions and grouped heads, then SwiGLU, on a residual
//! stream in f32. Weights carry the names of the published checkpoints.

mod rows;
mod train;

use crate::graph::{Activation, Graph, Value, Weight};
use crate::models::language::{Cached, DecoderConfig, SLACK, rotary_table};
use crate::ops::{Attend, Norm, Qkv};
use rows::{pairs, queries_keys_values};

/// The model's constants, in its own structure.
pub struct Llama {
    config: DecoderConfig,
    embedding: Weight,
    layers: Vec<Layer>,
    norm: Weight,
    head: Weight,
}

struct Layer {
    attention_norm: Weight,
    qkv: Linear,
    output: Linear,
    ffn_norm: Weight,
    /// Rows of the gate and of the up projection in turn.
    gate_up: Linear,
    down: Linear,
}

/// A weight [N out, K in] and, where the model has one, its bias [N].
struct Linear {
    weight: Weight,
    bias: Option<Weight>,
}

impl Linear {
    fn plain(name: &str, shape: [usize; 2], bias: bool) -> Self {
        Self {
            weight: Weight::plain(format!("{name}.weight"), &shape),
            bias: bias.then(|| Weight::plain(format!("{name}.bias"), &shape[..1])),
        }
    }
}

impl Llama {
    /// The model that `config` describes.
    pub fn new(config: &DecoderConfig) -> Self {
        let (d, vocab) = (config.hidden, config.vocab);
        let embedding = Weight::plain("model.embed_tokens.weight", &[vocab, d]);
        let head = match config.tied {
            true => embedding.clone(),
            false => Weight::plain("lm_head.weight", &[vocab, d]),
        };
        Self {
            embedding,
            layers: (0..config.layers).map(|i| Layer::new(config, i)).collect(),
            norm: Weight::plain("model.norm.weight", &[d]),
            head,
            config: config.clone(),
        }
    }

    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The residual stream [rows, hidden] after the last layer, of the `rows` tokens of `history` from `start` on.
    /// Their keys and values go into the caches.
    pub fn hidden<'g>(&self, g: &'g Graph, cached: &Cached) -> Value<'g> {
        let c = &self.config;
        let (history, start) = (cached.history(g), cached.start(g));
        let turn = c.rotary.clone();
        // A round may propose beyond the last position.
        let (head_dim, positions) = (c.head_dim, cached.positions + SLACK);
        let rotary = Weight::made(
            "rotary",
            &[positions, head_dim / 2, 2],
            Vec::new(),
            move |_| rotary_table(&turn, head_dim, positions),
        );
        let mut x = g.embedding(&self.embedding, history, start, cached.rows);
        for (i, layer) in self.layers.iter().enumerate() {
            let _scope = g.scope(format_args!("layers.{i}"));
            let cache = cached.cache(g, i, c.kv_heads, head_dim);
            let q = Qkv {
                norm: Norm::new(&layer.attention_norm, c.eps),
                weight: &layer.qkv.weight,
                bias: layer.qkv.bias.as_ref(),
                heads: c.heads,
                rotary: Some(&rotary),
            }
            .apply(x, cache, start);
            let attended = Attend::causal(head_dim, cached.window).apply(q, cache, start);
            x = x + attended.project(&layer.output.weight, layer.output.bias.as_ref());
            let norm = Norm::new(&layer.ffn_norm, c.eps);
            let gate_up = &layer.gate_up;
            let gated = norm.gated(x, &gate_up.weight, gate_up.bias.as_ref(), Activation::Silu);
            x = x + gated.project(&layer.down.weight, layer.down.bias.as_ref());
        }
        x
    }

    /// The logits [rows, vocabulary] of the token after each row of `hidden`.
    pub fn logits<'g>(&self, hidden: Value<'g>) -> Value<'g> {
        let _scope = hidden.graph().scope("head");
        Norm::new(&self.norm, self.config.eps).project(hidden, &self.head, None)
    }
}

impl Layer {
    fn new(c: &DecoderConfig, i: usize) -> Self {
        let name = |part: &str| format!("model.layers.{i}.{part}");
        let norm = |part: &str| Weight::plain(format!("{}.weight", name(part)), &[c.hidden]);
        let (q, wide, d) = (c.query_width(), c.intermediate, c.hidden);
        Self {
            attention_norm: norm("input_layernorm"),
            qkv: queries_keys_values(c, &name("self_attn")),
            output: Linear::plain(&name("self_attn.o_proj"), [d, q], c.output_bias),
            ffn_norm: norm("post_attention_layernorm"),
            gate_up: pairs(&name("mlp"), [wide, d], c.mlp_bias),
            down: Linear::plain(&name("mlp.down_proj"), [d, wide], c.mlp_bias),
        }
    }
}
