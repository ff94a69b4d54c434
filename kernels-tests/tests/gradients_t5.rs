//! The ops that T5's training adds: attention with a bias by distance, of an encoder, of a decoder and from one to the
//! other, and ReLU, against finite differences in f64.

use cascadia::ops::Whole;
use cascadia::tensor::DType;
use kernels_tests::gradients::{Case, check};

/// Two sequences.
const SIZES: Whole = Whole {
    len: 6,
    keys: 6,
    heads: 2,
    kv_heads: 2,
    head_dim: 4,
    scale: 1.0,
    causal: false,
};

/// Attention as the paper writes it: q, k, v and, where there is one, the bias.
fn attend(w: Whole, x: &[Vec<f64>], lengths: Option<&[u32]>) -> Vec<f64> {
    let width = w.heads * w.head_dim;
    let mut out = Vec::new();
    for row in 0..x[0].len() / width {
        let (sequence, i) = (row / w.len, row % w.len);
        let seen = lengths.map_or(w.keys, |l| l[sequence] as usize);
        let seen = if w.causal { seen.min(i + 1) } else { seen };
        for h in 0..w.heads {
            let head = |of: usize, row: usize| &x[of][row * width + h * w.head_dim..][..w.head_dim];
            let score = |j: usize| -> f64 {
                let both = head(0, row).iter().zip(head(1, sequence * w.keys + j));
                let dot: f64 = both.map(|(q, k)| q * k).sum();
                let bias = x
                    .get(3)
                    .map(|b| b[h * (w.len + w.keys - 1) + j + w.len - 1 - i]);
                (dot * f64::from(w.scale) + bias.unwrap_or(0.0)).exp()
            };
            let scores: Vec<f64> = (0..seen).map(score).collect();
            let sum: f64 = scores.iter().sum();
            let mut o = vec![0.0; w.head_dim];
            for (j, score) in scores.iter().enumerate() {
                let v = head(2, sequence * w.keys + j);
                o.iter_mut().zip(v).for_each(|(o, v)| *o += score / sum * v);
            }
            out.extend(o);
        }
    }
    out
}

#[test]
fn attention_with_a_bias_by_distance() {
    check(&Case {
        name: "encoder",
        shapes: &[&[12, 8], &[12, 8], &[12, 8], &[2, 11]],
        words: &[("lengths", &[6, 4])],
        device: &|x| {
            let lengths = x[0].graph().state("lengths", &[2], DType::U32);
            SIZES.apply([x[0], x[1], x[2]], Some(x[3]), Some(lengths))
        },
        host: &|x| attend(SIZES, x, Some(&[6, 4])),
    });
    let decoder = Whole {
        causal: true,
        ..SIZES
    };
    check(&Case {
        name: "decoder",
        shapes: &[&[12, 8], &[12, 8], &[12, 8], &[2, 11]],
        words: &[],
        device: &|x| decoder.apply([x[0], x[1], x[2]], Some(x[3]), None),
        host: &|x| attend(decoder, x, None),
    });
}

#[test]
fn attention_to_what_an_encoder_read() {
    let across = Whole {
        len: 3,
        keys: 5,
        ..SIZES
    };
    // Of the second sequence nothing is read: its rows see nothing.
    check(&Case {
        name: "across",
        shapes: &[&[6, 8], &[10, 8], &[10, 8]],
        words: &[("lengths", &[4, 0])],
        device: &|x| {
            let lengths = x[0].graph().state("lengths", &[2], DType::U32);
            across.apply([x[0], x[1], x[2]], None, Some(lengths))
        },
        host: &|x| attend(across, x, Some(&[4, 0])),
    });
}

#[test]
fn a_bias_that_layers_share_and_relu() {
    // The gradient of a table of rows by head is gathered over layers and over the distances of a row.
    let whole = Whole {
        len: 4,
        keys: 4,
        heads: 2,
        kv_heads: 2,
        head_dim: 4,
        ..SIZES
    };
    let by_distance = |table: &[f64]| -> Vec<f64> {
        let row = |d: usize| usize::from(d >= 3) + usize::from(d >= 5);
        (0..2)
            .flat_map(|h| (0..7).map(move |d| (h, d)))
            .map(|(h, d)| table[row(d) * 2 + h])
            .collect()
    };
    check(&Case {
        name: "shared table",
        shapes: &[&[4, 8], &[3, 2]],
        words: &[],
        device: &|x| {
            let g = x[0].graph();
            let ones = |_: &[Vec<f32>]| {
                let row = |d: usize| usize::from(d >= 3) + usize::from(d >= 5);
                (0..21)
                    .map(|i| f32::from(u8::from(row(i / 3) == i % 3)))
                    .collect()
            };
            let which = cascadia::graph::Weight::made("which", &[7, 3], Vec::new(), ones);
            let bias = x[1].permute(&[1, 0]).dense(g.weight(&which), None);
            let first = whole.apply([x[0], x[0], x[0]], Some(bias), None).relu();
            whole.apply([first, x[0], first], Some(bias), None)
        },
        host: &|x| {
            let bias = by_distance(&x[1]);
            let all = |q: &[f64], k: &[f64]| [q.to_vec(), k.to_vec(), q.to_vec(), bias.clone()];
            let first = attend(whole, &all(&x[0], &x[0]), None);
            let first: Vec<f64> = first.into_iter().map(|v| v.max(0.0)).collect();
            attend(whole, &all(&first, &x[0]), None)
        },
    });
}
