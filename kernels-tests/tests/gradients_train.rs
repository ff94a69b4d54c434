//! The ops that only training uses: attention of whole sequences, rows of tables and losses, and their gradients against
//! finite differences in f64.

use cascadia::engine::distill::Loss;
use cascadia::graph::{Graph, Value, Weight};
use cascadia::models::language::{Rotary, Scaling, rotary_table};
use cascadia::ops::{Causal, Taught};
use cascadia::tensor::DType;
use kernels_tests::gradients::{Case, check};

/// u32 states of a case.
fn words<'g>(g: &'g Graph, name: &str, n: usize) -> Value<'g> {
    g.state(name, &[n], DType::U32)
}

const SIZES: Causal = Causal {
    len: 7,
    heads: 4,
    kv_heads: 2,
    head_dim: 8,
};

fn table() -> Vec<f32> {
    let rotary = Rotary {
        base: 100.0,
        scaling: Scaling::None,
    };
    rotary_table(&rotary, SIZES.head_dim, SIZES.len)
}

/// Attention as the paper writes it, on rows of queries, keys and values side by side.
fn attend(qkv: &[f64], turn: bool) -> Vec<f64> {
    let c = SIZES;
    let (d, width) = (c.head_dim, (c.heads + 2 * c.kv_heads) * c.head_dim);
    let angles = table();
    let head = |row: usize, head: usize| -> Vec<f64> {
        let mut x = qkv[row * width + head * d..][..d].to_vec();
        if turn && head < c.heads + c.kv_heads {
            for i in 0..d / 2 {
                let at = (row % c.len * (d / 2) + i) * 2;
                let (cos, sin) = (f64::from(angles[at]), f64::from(angles[at + 1]));
                let (a, b) = (x[2 * i], x[2 * i + 1]);
                (x[2 * i], x[2 * i + 1]) = (a * cos - b * sin, a * sin + b * cos);
            }
        }
        x
    };
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let mut out = Vec::new();
    for row in 0..qkv.len() / width {
        for h in 0..c.heads {
            let shared = h * c.kv_heads / c.heads;
            let q = head(row, h);
            let seen: Vec<usize> = (row / c.len * c.len..=row).collect();
            let scores: Vec<f64> = (seen.iter())
                .map(|&j| (dot(&q, &head(j, c.heads + shared)) / (d as f64).sqrt()).exp())
                .collect();
            let sum: f64 = scores.iter().sum();
            let mut o = vec![0.0; d];
            for (score, &j) in scores.iter().zip(&seen) {
                let v = head(j, c.heads + c.kv_heads + shared);
                o.iter_mut().zip(v).for_each(|(o, v)| *o += score / sum * v);
            }
            out.extend(o);
        }
    }
    out
}

#[test]
fn attention_of_whole_sequences() {
    check(&Case {
        name: "causal",
        shapes: &[&[14, 64]],
        words: &[],
        device: &|x| SIZES.apply(x[0], None),
        host: &|x| attend(&x[0], false),
    });
    check(&Case {
        name: "causal, turned",
        shapes: &[&[14, 64]],
        words: &[],
        device: &|x| {
            let rotary = Weight::made("rotary", &[7, 4, 2], Vec::new(), |_| table());
            SIZES.apply(x[0], Some(&rotary))
        },
        host: &|x| attend(&x[0], true),
    });
}

#[test]
fn rows_of_tables() {
    // A row that is taken three times, rows that nobody takes, and a table that is used once more.
    let ids = [4, 0, 4, 2, 4, 6];
    check(&Case {
        name: "rows_of",
        shapes: &[&[9, 12], &[12, 12]],
        words: &[("ids", &ids)],
        device: &|x| {
            let rows = x[0].rows_of(words(x[0].graph(), "ids", 6));
            rows.dense(x[1], None).dense(x[0], None)
        },
        host: &|x| {
            let (t, w) = (&x[0], &x[1]);
            let mut out = Vec::new();
            for id in ids {
                let row = &t[id as usize * 12..][..12];
                let y: Vec<f64> = (w.chunks(12))
                    .map(|w| w.iter().zip(row).map(|(a, b)| a * b).sum())
                    .collect();
                out.extend(
                    t.chunks(12)
                        .map(|t| -> f64 { t.iter().zip(&y).map(|(a, b)| a * b).sum() }),
                );
            }
            out
        },
    });
}

/// The target's distributions of the tests, some of them 0.
fn target(rows: usize, vocab: usize) -> Vec<f64> {
    let row = |r: usize| {
        let e: Vec<f64> = (0..vocab)
            .map(|c| match (r + c) % 5 {
                0 => 0.0,
                _ => ((r * 7 + c * 3) % 11) as f64 / 4.0,
            })
            .map(|z| if z == 0.0 { 0.0 } else { z.exp() })
            .collect();
        let sum: f64 = e.iter().sum();
        e.into_iter().map(move |v| v / sum)
    };
    (0..rows).flat_map(row).collect()
}

#[test]
fn losses() {
    const VOCAB: usize = 23;
    // Of four rows the third does not count.
    let (marks, labels) = ([0, 1, u32::MAX, 3], [5, 0, 7, 22]);
    for (loss, temperature) in [
        (Loss::ForwardKl, 1.0),
        (Loss::ReverseKl, 1.0),
        (Loss::Jsd { beta: 0.5 }, 1.0),
        (Loss::Jsd { beta: 0.1 }, 0.7),
        (Loss::Tv, 1.3),
        (Loss::CrossEntropy, 2.0),
    ] {
        let divergence = |p: &[f64], q: &[f64], label: usize| -> f64 {
            let kl = |a: &[f64], b: &[f64]| -> f64 {
                let terms = a.iter().zip(b).filter(|t| *t.0 > 0.0);
                // The kernel takes no logarithm of less than 1e-30.
                terms.map(|(a, b)| a * (a / b.max(1e-30)).ln()).sum()
            };
            let mixed = |beta: f64| -> Vec<f64> {
                p.iter()
                    .zip(q)
                    .map(|(p, q)| beta * p + (1.0 - beta) * q)
                    .collect()
            };
            match loss {
                Loss::ForwardKl => kl(p, q),
                Loss::ReverseKl => kl(q, p),
                Loss::Jsd { beta } => {
                    let beta = f64::from(beta);
                    let m = mixed(beta);
                    beta * kl(p, &m) + (1.0 - beta) * kl(q, &m)
                }
                Loss::Tv => -p.iter().zip(q).map(|(p, q)| p.min(*q)).sum::<f64>(),
                Loss::CrossEntropy => -q[label].ln(),
            }
        };
        // Reverse KL has no finite value where the target rules a token out.
        let p: Vec<f64> = match loss {
            Loss::ReverseKl => (target(4, VOCAB).chunks(VOCAB))
                .flat_map(|row| row.iter().map(|p| 0.9 * p + 0.1 / VOCAB as f64))
                .collect(),
            _ => target(4, VOCAB),
        };
        let exact: Vec<f32> = p.iter().map(|&p| p as f32).collect();
        let p: Vec<f64> = exact.iter().map(|&p| f64::from(p)).collect();
        check(&Case {
            name: &format!("{loss:?}"),
            shapes: &[&[4, VOCAB]],
            words: &[
                ("marks", &marks),
                ("labels", &labels),
                ("targets", &[0, 1, 2, 3]),
            ],
            device: &|x| {
                let g = x[0].graph();
                let exact = exact.clone();
                let probs = Weight::made("p", &[4, VOCAB], Vec::new(), move |_| exact.clone());
                let taught = Taught {
                    rows: words(g, "marks", 4),
                    probs: g.weight(&probs),
                    targets: words(g, "targets", 4),
                    labels: words(g, "labels", 4),
                };
                x[0].distill(&taught, loss, temperature, 4.0)[0]
            },
            host: &|x| {
                let row = |i: usize| {
                    let z = x[0][i * VOCAB..][..VOCAB].iter();
                    let e: Vec<f64> = z.map(|z| (z / f64::from(temperature)).exp()).collect();
                    let sum: f64 = e.iter().sum();
                    let q: Vec<f64> = e.iter().map(|e| e / sum).collect();
                    divergence(&p[i * VOCAB..][..VOCAB], &q, labels[i] as usize) / 3.0
                };
                let counts = |i: usize| marks[i] != u32::MAX;
                (0..4)
                    .map(|i| if counts(i) { row(i) } else { 0.0 })
                    .collect()
            },
        });
    }
}
