//! T5 (Raffel et al., arXiv 1910.10683), its version 1.1, FLAN-T5 and mT5: an encoder reads the prompt, a decoder
//! writes the answer, both with positions that are relative: a bias on the scores, learned for buckets of distances
//! and shared by all layers. Scores are not scaled. Weights carry the names of the published checkpoints.

mod bias;
mod block;
mod train;

use crate::graph::{Activation, Graph, Value, Weight};
use crate::models::language::{self, Cached, T5Config};
use crate::ops::{Attend, Norm, Qkv};
use bias::{Direction, by_distance, table};
use block::{Attention, Block, Ffn};

/// The model's constants, in its own structure.
pub struct T5 {
    config: T5Config,
    embedding: Weight,
    encoder: Stack,
    decoder: Stack,
    head: Weight,
    /// What the decoder's output is multiplied by before the head.
    scale: f32,
}

struct Stack {
    blocks: Vec<Block>,
    norm: Weight,
    /// Added to a score, by head and distance.
    bias: Weight,
    /// What that is made of: by bucket and head.
    table: Weight,
}

impl T5 {
    /// The model that `config` describes; `own_head` where the checkpoint has an output projection of its own.
    pub fn new(config: &T5Config, own_head: bool) -> Self {
        let (vocab, d) = (config.vocab, config.hidden);
        let shared = Weight::plain("shared.weight", &[vocab, d]);
        let head = match own_head {
            true => Weight::plain("lm_head.weight", &[vocab, d]),
            false => shared.clone(),
        };
        let scale = match config.scale_output {
            true => (d as f32).powf(-0.5),
            false => 1.0,
        };
        Self {
            embedding: shared.exact(),
            encoder: Stack::new(config, Direction::Both),
            decoder: Stack::new(config, Direction::Back),
            head,
            scale,
            config: config.clone(),
        }
    }

    /// Reads the `keys` first tokens of the encoder's `history` and leaves the keys and values that the decoder's
    /// layers attend to in their caches.
    pub fn encode(&self, g: &Graph, cached: &Cached) {
        let c = &self.config;
        let (start, keys) = (cached.start(g), cached.keys(g));
        let mut x = g.embedding(&self.embedding, cached.prompt(g), start, cached.rows);
        // One cache serves all layers: each is done with it before the next one writes.
        let cache = cached.cache(g, "encoder", c.heads, c.head_dim);
        for (i, block) in self.encoder.blocks.iter().enumerate() {
            let _scope = g.scope(format_args!("encoder.{i}"));
            let q = self.qkv(&block.attention).apply(x, cache, start);
            let attend = Attend::all().with_bias(&self.encoder.bias);
            x = x + attend
                .apply(q, cache, keys)
                .project(&block.attention.output, None);
            x = self.ffn(x, &block.ffn);
        }
        let memory = x.rms_norm(&self.encoder.norm, c.eps);
        for (i, block) in self.decoder.blocks.iter().enumerate() {
            let Some(cross) = &block.cross else { continue };
            let cache = cached.cache(g, format_args!("cross.{i}"), c.heads, c.head_dim);
            let kept = memory.project(&cross.kv, None).remember(cache, start);
            g.output(format_args!("cross.{i}"), kept);
        }
    }

    /// The decoder's residual stream [rows, hidden] after the last layer.
    pub fn decode<'g>(&self, g: &'g Graph, cached: &Cached) -> Value<'g> {
        let c = &self.config;
        let (history, start, keys) = (cached.history(g), cached.start(g), cached.keys(g));
        let mut x = g.embedding(&self.embedding, history, start, cached.rows);
        for (i, block) in self.decoder.blocks.iter().enumerate() {
            let _scope = g.scope(format_args!("decoder.{i}"));
            let cache = cached.cache(g, i, c.heads, c.head_dim);
            let q = self.qkv(&block.attention).apply(x, cache, start);
            let attend = Attend::causal_unscaled(cached.window).with_bias(&self.decoder.bias);
            x = x + attend
                .apply(q, cache, start)
                .project(&block.attention.output, None);
            if let Some(cross) = &block.cross {
                let q = Norm::new(&cross.norm, c.eps).project(x, &cross.q, None);
                let cache = cached.cache(g, format_args!("cross.{i}"), c.heads, c.head_dim);
                x = x + Attend::all()
                    .apply(q, cache, keys)
                    .project(&cross.output, None);
            }
            x = self.ffn(x, &block.ffn);
        }
        x
    }

    /// The logits [rows, vocabulary] of the token after each row of `hidden`.
    pub fn logits<'g>(&self, hidden: Value<'g>) -> Value<'g> {
        let _scope = hidden.graph().scope("head");
        (Norm::new(&self.decoder.norm, self.config.eps).times(self.scale))
            .project(hidden, &self.head, None)
    }

    fn qkv<'a>(&self, attention: &'a Attention) -> Qkv<'a> {
        Qkv {
            norm: Norm::new(&attention.norm, self.config.eps),
            weight: &attention.q,
            bias: None,
            heads: self.config.heads,
            rotary: None,
        }
    }

    fn ffn<'g>(&self, x: Value<'g>, ffn: &Ffn) -> Value<'g> {
        let norm = Norm::new(&ffn.norm, self.config.eps);
        let h = match self.config.activation {
            language::Activation::Relu => norm.project(x, &ffn.up, None).relu(),
            language::Activation::GatedGelu => norm.gated(x, &ffn.up, None, Activation::Gelu),
        };
        x + h.project(&ffn.down, None)
    }
}

impl Stack {
    fn new(c: &T5Config, direction: Direction) -> Self {
        let (name, layers) = match direction {
            Direction::Both => ("encoder", c.layers),
            Direction::Back => ("decoder", c.decoder_layers),
        };
        Self {
            blocks: (0..layers)
                .map(|i| Block::new(c, &format!("{name}.block.{i}"), direction))
                .collect(),
            norm: Weight::plain(format!("{name}.final_layer_norm.weight"), &[c.hidden]),
            bias: by_distance(c, name, direction),
            table: table(c, name),
        }
    }
}
