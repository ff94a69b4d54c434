//! The same layers with weights that are trained: whole sequences at once, no caches, everything f32.

use super::bias::{Direction, buckets};
use super::block::{Attention, Block, Ffn};
use super::{Stack, T5};
use crate::graph::{Activation, Value, Weight};
use crate::models::language::{self, Addition, Training, trained};
use crate::ops::Whole;

impl T5 {
    /// The additions of `rank` to the projections of its layers.
    pub fn additions(&self, rank: usize) -> Vec<Addition<'_>> {
        let blocks = self.encoder.blocks.iter().chain(&self.decoder.blocks);
        let linears = blocks.flat_map(Block::linears);
        linears.map(|w| Addition::new(w, rank)).collect()
    }

    /// All its weights, each once.
    pub fn weights(&self) -> Vec<&Weight> {
        let mut all = vec![&self.embedding];
        all.extend(self.encoder.weights());
        all.extend(self.decoder.weights());
        if self.head.name != self.embedding.name {
            all.push(&self.head);
        }
        all
    }

    /// The decoder's residual stream [sequences·len, hidden] after the last layer. `tokens` u32 [sequences·(keys + len)]
    /// are those that the encoder reads, `keys` of each sequence, and then the decoder's, `len` of each; `lengths` u32
    /// [sequences] says how many of a sequence's `keys` are its prompt, before padding.
    pub fn train<'g>(
        &self,
        tokens: Value<'g>,
        lengths: Value<'g>,
        [keys, len]: [usize; 2],
        training: Training,
    ) -> Value<'g> {
        let (g, c) = (tokens.graph(), &self.config);
        let width = c.heads * c.head_dim;
        let read = lengths.dim(0) * keys;
        let embedded = trained(g, &self.embedding).rows_of(tokens);
        let attention = Whole {
            len: keys,
            keys,
            heads: c.heads,
            kv_heads: c.heads,
            head_dim: c.head_dim,
            scale: 1.0,
            causal: false,
        };
        let mut x = embedded.slice(0, 0, read);
        let bias = self.bias(&self.encoder, Direction::Both, x, [keys, keys]);
        for (i, block) in self.encoder.blocks.iter().enumerate() {
            let _scope = g.scope(format_args!("encoder.{i}"));
            let _segment = training.again.then(|| g.segment());
            let qkv = self.queries_keys_values(x, &block.attention, training);
            let attended = attention.apply(qkv, Some(bias), Some(lengths));
            x = x + training.linear(attended, &block.attention.output, None);
            x = self.train_ffn(x, &block.ffn, training);
        }
        let memory = x.normed(trained(g, &self.encoder.norm), c.eps);

        let across = Whole { len, ..attention };
        let causal = Whole {
            keys: len,
            causal: true,
            ..across
        };
        let mut x = embedded.slice(0, read, lengths.dim(0) * len);
        let bias = self.bias(&self.decoder, Direction::Back, x, [len, len]);
        for (i, block) in self.decoder.blocks.iter().enumerate() {
            let _scope = g.scope(format_args!("decoder.{i}"));
            let _segment = training.again.then(|| g.segment());
            let qkv = self.queries_keys_values(x, &block.attention, training);
            let attended = causal.apply(qkv, Some(bias), None);
            x = x + training.linear(attended, &block.attention.output, None);
            if let Some(cross) = &block.cross {
                let normed = x.normed(trained(g, &cross.norm), c.eps);
                let q = training.linear(normed, &cross.q, None);
                let [k, v] = training
                    .linear(memory, &cross.kv, None)
                    .split(1, [width; 2]);
                let attended = across.apply([q, k, v], None, Some(lengths));
                x = x + training.linear(attended, &cross.output, None);
            }
            x = self.train_ffn(x, &block.ffn, training);
        }
        x
    }

    /// The logits [rows, vocabulary] of the token after each row of `hidden`.
    pub fn train_logits<'g>(&self, hidden: Value<'g>) -> Value<'g> {
        let g = hidden.graph();
        let _scope = g.scope("head");
        let normed = hidden.normed(trained(g, &self.decoder.norm), self.config.eps);
        let scaled = match self.config.scale_output {
            true => normed.times(self.scale),
            false => normed,
        };
        scaled.dense(trained(g, &self.head), None)
    }

    /// The bias of `stack` by head and distance, [heads, len + keys - 1], in the graph of `x`.
    fn bias<'g>(
        &self,
        stack: &Stack,
        direction: Direction,
        x: Value<'g>,
        sizes: [usize; 2],
    ) -> Value<'g> {
        let g = x.graph();
        let which = g.weight(&buckets(&self.config, direction, sizes));
        let by_head = trained(g, &stack.table).permute(&[1, 0]);
        by_head.dense(which, None)
    }

    fn queries_keys_values<'g>(
        &self,
        x: Value<'g>,
        attention: &Attention,
        training: Training,
    ) -> [Value<'g>; 3] {
        let normed = x.normed(trained(x.graph(), &attention.norm), self.config.eps);
        let width = self.config.heads * self.config.head_dim;
        training
            .linear(normed, &attention.q, None)
            .split(1, [width; 3])
    }

    fn train_ffn<'g>(&self, x: Value<'g>, ffn: &Ffn, training: Training) -> Value<'g> {
        let normed = x.normed(trained(x.graph(), &ffn.norm), self.config.eps);
        let up = training.linear(normed, &ffn.up, None);
        let h = match self.config.activation {
            language::Activation::Relu => up.relu(),
            language::Activation::GatedGelu => up.gated(Activation::Gelu),
        };
        x + training.linear(h, &ffn.down, None)
    }
}

impl Stack {
    fn weights(&self) -> impl Iterator<Item = &Weight> {
        let blocks = self.blocks.iter().flat_map(Block::weights);
        blocks.chain([&self.norm, &self.table])
    }
}

impl Block {
    fn weights(&self) -> impl Iterator<Item = &Weight> {
        let cross = self.cross.as_ref().map(|cross| &cross.norm);
        let norms = [&self.attention.norm, &self.ffn.norm].into_iter();
        norms.chain(cross).chain(self.linears())
    }

    fn linears(&self) -> impl Iterator<Item = &Weight> {
        let own = [&self.attention.q, &self.attention.output];
        let cross = (self.cross.iter()).flat_map(|cross| [&cross.q, &cross.kv, &cross.output]);
        (own.into_iter().chain(cross)).chain([&self.ffn.up, &self.ffn.down])
    }
}
