//! The same layers with weights that are trained: whole sequences at once, no caches, everything f32.

use super::{Layer, Linear, Llama};
use crate::graph::{Activation, Graph, Value, Weight};
use crate::models::language::rotary_table;
use crate::ops::Causal;
use crate::tensor::DType;

/// A weight that is trained: a state of its name, in its shape, as [`Weight::values`] lays it out.
pub fn trained<'g>(g: &'g Graph, weight: &Weight) -> Value<'g> {
    g.state(&weight.name, &weight.shape, DType::F32)
}

/// How a model is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Training {
    /// Of a layer's values only its input is kept for the gradients, which compute the others once more.
    pub again: bool,
    /// The projections of the layers have additions of this rank.
    pub rank: Option<usize>,
}

/// What is added to a weight [out, in]: b [out, rank] · a [rank, in] (LoRA, Hu et al., arXiv 2106.09685).
pub struct Addition<'a> {
    pub to: &'a Weight,
    pub a: Weight,
    pub b: Weight,
}

impl<'a> Addition<'a> {
    fn new(to: &'a Weight, rank: usize) -> Self {
        let [out, depth] = [to.shape[0], to.shape[1]];
        let part = |name: &str, shape: [usize; 2]| {
            let name = format!("{}.{name}", to.name);
            Weight::made(name, &shape, Vec::new(), move |_| {
                vec![0.0; shape[0] * shape[1]]
            })
        };
        Self {
            to,
            a: part("a", [rank, depth]),
            b: part("b", [out, rank]),
        }
    }
}

impl Linear {
    fn all(&self) -> impl Iterator<Item = &Weight> {
        std::iter::once(&self.weight).chain(&self.bias)
    }

    /// x · weightᵀ + bias.
    fn train<'g>(&self, x: Value<'g>, rank: Option<usize>) -> Value<'g> {
        let g = x.graph();
        let bias = self.bias.as_ref().map(|b| trained(g, b));
        let y = x.dense(trained(g, &self.weight), bias);
        match rank.map(|rank| Addition::new(&self.weight, rank)) {
            Some(add) => {
                y + x
                    .dense(trained(g, &add.a), None)
                    .dense(trained(g, &add.b), None)
            }
            None => y,
        }
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
        let Training { again, rank } = training;
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
            let _segment = again.then(|| g.segment());
            let normed = x.normed(trained(g, &layer.attention_norm), c.eps);
            let attended = attention.apply(layer.qkv.train(normed, rank), Some(&rotary));
            x = x + layer.output.train(attended, rank);
            let normed = x.normed(trained(g, &layer.ffn_norm), c.eps);
            let gated = layer.gate_up.train(normed, rank).gated(Activation::Silu);
            x = x + layer.down.train(gated, rank);
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
