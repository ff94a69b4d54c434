//! The same layers with weights that are trained: whole sequences at once, no caches, everything f32.

use super::{Layer, Linear, Llama};
use crate::graph::{Activation, Value, Weight};
use crate::models::language::{Addition, Training, rotary_table, trained};
use crate::ops::Causal;

impl Linear {
    fn all(&self) -> impl Iterator<Item = &Weight> {
        std::iter::once(&self.weight).chain(&self.bias)
    }

    fn train<'g>(&self, x: Value<'g>, training: Training) -> Value<'g> {
        training.linear(x, &self.weight, self.bias.as_ref())
    }
}

impl Layer {
    fn weights(&self) -> impl Iterator<Item = &Weight> {
        let norms = [&self.attention_norm, &self.ffn_norm].into_iter();
        norms.chain(self.linears().into_iter().flat_map(Linear::all))
    }

    fn linears(&self) -> [&Linear; 4] {
        [&self.qkv, &self.output, &self.gate_up, &self.down]
    }
}

impl Llama {
    /// The additions of `rank` to the projections of its layers.
    pub fn additions(&self, rank: usize) -> Vec<Addition<'_>> {
        let linears = self.layers.iter().flat_map(Layer::linears);
        linears.map(|l| Addition::new(&l.weight, rank)).collect()
    }

    /// All its weights, each once.
    pub fn weights(&self) -> Vec<&Weight> {
        let mut all = vec![&self.embedding];
        all.extend(self.layers.iter().flat_map(Layer::weights));
        all.push(&self.norm);
        if !self.config.tied {
            all.push(&self.head);
        }
        all
    }

    /// The residual stream [rows, hidden] after the last layer, of sequences of `len` tokens, one after the other:
    /// `tokens` u32 [rows], `rows` a multiple of `len`. Each token sees those before it in its own sequence.
    pub fn train<'g>(&self, tokens: Value<'g>, len: usize, training: Training) -> Value<'g> {
        let (c, g) = (&self.config, tokens.graph());
        let (turn, head_dim) = (c.rotary.clone(), c.head_dim);
        let rotary = Weight::made(
            format!("rotary {len}"),
            &[len, head_dim / 2, 2],
            Vec::new(),
            move |_| rotary_table(&turn, head_dim, len),
        );
        let attention = Causal {
            len,
            heads: c.heads,
            kv_heads: c.kv_heads,
            head_dim,
        };
        let mut x = trained(g, &self.embedding).rows_of(tokens);
        for (i, layer) in self.layers.iter().enumerate() {
            let _scope = g.scope(format_args!("layers.{i}"));
            let _segment = training.again.then(|| g.segment());
            let normed = x.normed(trained(g, &layer.attention_norm), c.eps);
            let attended = attention.apply(layer.qkv.train(normed, training), Some(&rotary));
            x = x + layer.output.train(attended, training);
            let normed = x.normed(trained(g, &layer.ffn_norm), c.eps);
            let gated = layer
                .gate_up
                .train(normed, training)
                .gated(Activation::Silu);
            x = x + layer.down.train(gated, training);
        }
        x
    }

    /// The logits [rows, vocabulary] of the token after each row of `hidden`.
    pub fn train_logits<'g>(&self, hidden: Value<'g>) -> Value<'g> {
        let g = hidden.graph();
        let _scope = g.scope("head");
        let normed = hidden.normed(trained(g, &self.norm), self.config.eps);
        normed.dense(trained(g, &self.head), None)
    }
}
