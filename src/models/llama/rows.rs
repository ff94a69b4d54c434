//! Projections of the checkpoint that are one here, with their rows in the order that the kernels take.

use super::Linear;
use crate::graph::{Source, Weight};
use crate::models::language::DecoderConfig;

fn source(name: &str, shape: &[usize]) -> Source {
    Source {
        name: name.into(),
        shape: shape.to_vec(),
        trainable: true,
    }
}

/// In each head, rows i and i + D/2, which rotary positions turn together, beside each other.
fn turned(rows: &[f32], head: usize, width: usize) -> Vec<f32> {
    let row = |of: usize| &rows[of * width..(of + 1) * width];
    (0..rows.len() / width)
        .flat_map(|to| {
            let (first, i) = (to / head * head, to % head);
            row(first + i / 2 + i % 2 * (head / 2))
        })
        .copied()
        .collect()
}

/// The inverse of [`turned`].
fn unturned(rows: &[f32], head: usize, width: usize) -> Vec<f32> {
    let row = |of: usize| &rows[of * width..(of + 1) * width];
    (0..rows.len() / width)
        .flat_map(|to| {
            let (first, i) = (to / head * head, to % head);
            row(first + 2 * (i % (head / 2)) + i / (head / 2))
        })
        .copied()
        .collect()
}

/// The projections of q, k and v, one under the other, [(H + 2·HKV)·D, hidden]. In each head of q and k the rows that
/// rotary positions turn together, i and i + D/2, stand beside each other: an order that their product does not see.
pub(super) fn queries_keys_values(c: &DecoderConfig, name: &str) -> Linear {
    let (q, kv, d, head) = (c.query_width(), c.kv_width(), c.hidden, c.head_dim);
    let made = |part: &str, columns: Option<usize>| {
        let shape = |n: usize| -> Vec<usize> { std::iter::once(n).chain(columns).collect() };
        let sources = [("q_proj", q), ("k_proj", kv), ("v_proj", kv)]
            .map(|(p, n)| source(&format!("{name}.{p}.{part}"), &shape(n)));
        let width = columns.unwrap_or(1);
        Weight::made(
            format!("{name}.qkv.{part}"),
            &shape(q + 2 * kv),
            sources.into(),
            move |t| {
                let (q, k) = (turned(&t[0], head, width), turned(&t[1], head, width));
                [q, k, t[2].clone()].concat()
            },
        )
        .undone_by(move |all| {
            let (of_q, rest) = all.split_at(q * width);
            let (of_k, of_v) = rest.split_at(kv * width);
            vec![
                unturned(of_q, head, width),
                unturned(of_k, head, width),
                of_v.to_vec(),
            ]
        })
    };
    Linear {
        weight: made("weight", Some(d)),
        bias: c.qkv_bias.then(|| made("bias", None)),
    }
}

/// The projections `gate_proj` and `up_proj`, row by row in turn, [2·wide, hidden].
pub(super) fn pairs(name: &str, [wide, d]: [usize; 2], bias: bool) -> Linear {
    let made = |part: &str, columns: Option<usize>| {
        let shape = |n: usize| -> Vec<usize> { std::iter::once(n).chain(columns).collect() };
        let sources =
            ["gate_proj", "up_proj"].map(|p| source(&format!("{name}.{p}.{part}"), &shape(wide)));
        let width = columns.unwrap_or(1);
        Weight::made(
            format!("{name}.gate_up.{part}"),
            &shape(2 * wide),
            sources.into(),
            move |t| {
                (t[0].chunks(width).zip(t[1].chunks(width)))
                    .flat_map(|(gate, up)| gate.iter().chain(up))
                    .copied()
                    .collect()
            },
        )
        .undone_by(move |all| {
            let of = |first: usize| all.chunks(width).skip(first).step_by(2).flatten();
            vec![of(0).copied().collect(), of(1).copied().collect()]
        })
    };
    Linear {
        weight: made("weight", Some(d)),
        bias: bias.then(|| made("bias", None)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Linear, pairs, queries_keys_values, turned};
    use crate::models::language::{Config, DecoderConfig};

    fn config() -> DecoderConfig {
        let json = serde_json::json!({
            "architectures": ["Qwen2ForCausalLM"], "vocab_size": 16, "hidden_size": 12, "intermediate_size": 10,
            "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6,
            "max_position_embeddings": 32
        });
        match Config::parse(std::path::Path::new("config.json"), &json) {
            Ok(Config::Decoder(config)) => config,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rows_that_turn_together_stand_beside_each_other() {
        let rows: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let expected = [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11].map(|i| i as f32);
        assert_eq!(turned(&rows, 6, 1), expected);
    }

    #[test]
    fn what_is_saved_is_what_was_read() {
        let all = |l: Linear| std::iter::once(l.weight).chain(l.bias);
        let weights: Vec<_> = (all(queries_keys_values(&config(), "attention")))
            .chain(all(pairs("mlp", [10, 12], true)))
            .collect();
        assert_eq!(weights.len(), 4);
        for weight in weights {
            let mut at = 0.0;
            let read = |source: &crate::graph::Source| -> Vec<f32> {
                let values = (0..source.shape.iter().product()).map(|_| {
                    at += 1.0;
                    at
                });
                values.collect()
            };
            let published: Vec<Vec<f32>> = weight.sources.iter().map(read).collect();
            let values = weight.values(&|source| {
                let which = weight.sources.iter().position(|s| s == source);
                Ok(published[which.unwrap_or(usize::MAX)].clone())
            });
            let values = values.unwrap_or_else(|e| panic!("{e}"));
            let back = weight.published(&values);
            assert_eq!(
                back.unwrap_or_else(|e| panic!("{e}")),
                published,
                "{weight:?}"
            );
            let concatenated = published.concat();
            assert_ne!(
                values, concatenated,
                "{weight:?}: its rows are in another order"
            );
        }
    }
}
