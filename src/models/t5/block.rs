//! One layer of T5: its weights, some of the checkpoint's one under the other.

use super::bias::Direction;
use crate::graph::{Source, Weight};
use crate::models::language::{self, T5Config};

pub(super) struct Block {
    pub attention: Attention,
    pub cross: Option<Attention>,
    pub ffn: Ffn,
}

pub(super) struct Attention {
    pub norm: Weight,
    /// Of q, k and v, one under the other; for attention to the encoder's output, of q alone.
    pub q: Weight,
    /// Of k and v, one under the other, for attention to the encoder's output.
    pub kv: Weight,
    pub output: Weight,
}

pub(super) struct Ffn {
    pub norm: Weight,
    pub up: Weight,
    pub down: Weight,
}

/// Weights one under the other: `rows` of them in turn where `by_row`, else whole.
fn stacked(name: &str, parts: &[String], [n, k]: [usize; 2], by_row: bool) -> Weight {
    let sources = (parts.iter())
        .map(|p| Source {
            name: p.clone(),
            shape: vec![n, k],
            trainable: true,
        })
        .collect();
    let count = parts.len();
    Weight::made(name, &[n * count, k], sources, move |t| {
        if !by_row {
            return t.concat();
        }
        (0..n)
            .flat_map(|r| t.iter().flat_map(move |m| &m[r * k..(r + 1) * k]))
            .copied()
            .collect()
    })
    .undone_by(move |all| {
        let part = |i: usize| match by_row {
            true => (all.chunks(k).skip(i).step_by(count).flatten().copied()).collect(),
            false => all[i * n * k..(i + 1) * n * k].to_vec(),
        };
        (0..count).map(part).collect()
    })
}

impl Block {
    pub fn new(c: &T5Config, name: &str, direction: Direction) -> Self {
        let (d, width) = (c.hidden, c.heads * c.head_dim);
        let decoder = direction == Direction::Back;
        let attention = |layer: usize, part: &str, cross: bool| {
            let at = |w: &str| format!("{name}.layer.{layer}.{part}.{w}.weight");
            let kv = [at("k"), at("v")];
            let all = [at("q"), at("k"), at("v")];
            Attention {
                norm: Weight::plain(format!("{name}.layer.{layer}.layer_norm.weight"), &[d]),
                q: match cross {
                    true => Weight::plain(at("q"), &[width, d]),
                    false if decoder => stacked(&at("qkv"), &all, [width, d], false),
                    // Scores that are not scaled amplify what rounding does to it, and to all that reads it.
                    false => stacked(&at("qkv"), &all, [width, d], false).exact(),
                },
                kv: stacked(&at("kv"), &kv, [width, d], false),
                output: Weight::plain(at("o"), &[d, width]),
            }
        };
        let last = if decoder { 2 } else { 1 };
        let at = |w: &str| format!("{name}.layer.{last}.DenseReluDense.{w}.weight");
        let wide = c.intermediate;
        Self {
            attention: attention(0, "SelfAttention", false),
            cross: decoder.then(|| attention(1, "EncDecAttention", true)),
            ffn: Ffn {
                norm: Weight::plain(format!("{name}.layer.{last}.layer_norm.weight"), &[d]),
                up: match c.activation {
                    language::Activation::Relu => Weight::plain(at("wi"), &[wide, d]),
                    language::Activation::GatedGelu => {
                        stacked(&at("wi_0_1"), &[at("wi_0"), at("wi_1")], [wide, d], true)
                    }
                },
                down: Weight::plain(at("wo"), &[d, wide]),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::stacked;

    #[test]
    fn parts_come_back_as_they_were() {
        let parts = ["a".to_string(), "b".to_string(), "c".to_string()];
        let of = |start: u8| -> Vec<f32> { (start..start + 6).map(f32::from).collect() };
        let tensors = vec![of(0), of(10), of(20)];
        for by_row in [false, true] {
            let weight = stacked("all", &parts, [3, 2], by_row);
            let at = |source: &crate::graph::Source| {
                Ok(tensors[parts.iter().position(|p| *p == source.name).unwrap_or(9)].clone())
            };
            let values = weight.values(&at).unwrap_or_default();
            assert_eq!(values[2], if by_row { 10.0 } else { 2.0 });
            assert_eq!(weight.published(&values).unwrap_or_default(), tensors);
        }
    }
}
