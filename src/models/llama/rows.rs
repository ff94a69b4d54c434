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
                let mut out = Vec::with_capacity(t.iter().map(Vec::len).sum());
                for turned in &t[..2] {
                    for rows in turned.chunks(head * width) {
                        for i in 0..head / 2 {
                            out.extend(&rows[i * width..(i + 1) * width]);
                            let other = i + head / 2;
                            out.extend(&rows[other * width..(other + 1) * width]);
                        }
                    }
                }
                out.extend(&t[2]);
                out
            },
        )
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
    };
    Linear {
        weight: made("weight", Some(d)),
        bias: bias.then(|| made("bias", None)),
    }
}
