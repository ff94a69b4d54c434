//! The model's constants, made from a checkpoint's tensors: batch norms folded into their convolutions, with
//! the exact further folds that fusing wants.

use super::bias;
use super::config::KEY_DIM;
use crate::graph::{Source, Weight};
use crate::ops::Conv;

/// Batch norm's epsilon, PyTorch's default.
const EPS: f64 = 1e-5;

/// What more is folded into a convolution than its batch norm.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fold {
    Norm,
    /// The residual around a depthwise convolution: one added to the centre tap of each channel.
    Identity,
    /// The attention's scale, 1/√16, taken into q.
    Scale,
}

fn source(name: String, shape: &[usize], trainable: bool) -> Source {
    Source {
        name,
        shape: shape.to_vec(),
        trainable,
    }
}

/// The sources of a batch norm of `n` channels: γ, β, mean, variance.
fn norm(name: &str, n: usize) -> [Source; 4] {
    [
        ("weight", true),
        ("bias", true),
        ("running_mean", false),
        ("running_var", false),
    ]
    .map(|(leaf, trainable)| source(format!("{name}.{leaf}"), &[n], trainable))
}

/// γ / √(σ² + ε) of channel `c`.
fn gain(gamma: &[f32], variance: &[f32], c: usize) -> f64 {
    f64::from(gamma[c]) / (f64::from(variance[c]) + EPS).sqrt()
}

/// A convolution and its batch norm (`name.conv`, `name.bn`): weight [out, per group, side, side] and bias.
pub(super) fn conv_bn(
    name: &str,
    shape: [usize; 4],
    stride: usize,
    groups: usize,
    fold: Fold,
) -> Conv {
    let [out, _, side, _] = shape;
    let scale = if fold == Fold::Scale {
        1.0 / (KEY_DIM as f64).sqrt()
    } else {
        1.0
    };
    let suffix = match fold {
        Fold::Norm => "",
        Fold::Identity => " + identity",
        Fold::Scale => " · scale",
    };
    let [gamma, beta, mean, variance] = norm(&format!("{name}.bn"), out);
    let conv = source(format!("{name}.conv.weight"), &shape, true);
    let per_out = shape[1] * side * side;
    let weight = Weight::made(
        format!("{name}.weight{suffix}"),
        &shape,
        vec![conv, gamma.clone(), variance.clone()],
        move |t| {
            let (w, gamma, variance) = (&t[0], &t[1], &t[2]);
            let mut folded: Vec<f32> = (w.iter().enumerate())
                .map(|(i, &v)| (f64::from(v) * gain(gamma, variance, i / per_out) * scale) as f32)
                .collect();
            if fold == Fold::Identity {
                let centre = per_out / 2;
                folded
                    .iter_mut()
                    .skip(centre)
                    .step_by(per_out)
                    .for_each(|v| *v += 1.0);
            }
            folded
        },
    );
    let bias = Weight::made(
        format!("{name}.bias{suffix}"),
        &[out],
        vec![gamma, beta, mean, variance],
        move |t| {
            (0..out)
                .map(|c| {
                    let shift = f64::from(t[2][c]) * gain(&t[0], &t[3], c);
                    ((f64::from(t[1][c]) - shift) * scale) as f32
                })
                .collect()
        },
    );
    Conv {
        weight,
        bias,
        stride,
        padding: side / 2,
        groups,
    }
}

/// A 1×1 convolution with bias and without batch norm, as squeeze-excite has (`name.weight`, `name.bias`).
pub(super) fn conv_bias(name: &str, out: usize, input: usize) -> Conv {
    Conv {
        weight: Weight::plain(format!("{name}.weight"), &[out, input, 1, 1]),
        bias: Weight::plain(format!("{name}.bias"), &[out]),
        stride: 1,
        padding: 0,
        groups: 1,
    }
}

/// A classifier: batch norm, then linear, as one weight [classes, n] and bias. With more than one name, their
/// mean, as the model's two heads are averaged in evaluation.
pub(super) fn classifier(names: &[&str], classes: usize, n: usize) -> (Weight, Weight) {
    let sources: Vec<Source> = (names.iter())
        .flat_map(|name| {
            let mut s = norm(&format!("{name}.bn"), n).to_vec();
            s.push(source(format!("{name}.linear.weight"), &[classes, n], true));
            s.push(source(format!("{name}.linear.bias"), &[classes], true));
            s
        })
        .collect();
    let share = 1.0 / names.len() as f64;
    let weight = Weight::made("head.weight", &[classes, n], sources.clone(), move |t| {
        let mut out = vec![0.0f64; classes * n];
        for head in t.chunks(6) {
            for (i, v) in out.iter_mut().enumerate() {
                *v += share * f64::from(head[4][i]) * gain(&head[0], &head[3], i % n);
            }
        }
        out.into_iter().map(|v| v as f32).collect()
    });
    let bias = Weight::made("head.bias", &[classes], sources, move |t| {
        let one = |head: &[Vec<f32>], class: usize| -> f64 {
            let shifted: f64 = (0..n)
                .map(|c| {
                    let shift =
                        f64::from(head[1][c]) - f64::from(head[2][c]) * gain(&head[0], &head[3], c);
                    f64::from(head[4][class * n + c]) * shift
                })
                .sum();
            shifted + f64::from(head[5][class])
        };
        (0..classes)
            .map(|class| t.chunks(6).map(|h| share * one(h, class)).sum::<f64>() as f32)
            .collect()
    });
    (weight, bias)
}

/// A stage's relative position bias [heads, tokens, tokens], from its table [heads, side²] by (|dy|, |dx|), which
/// is resized where the checkpoint's is of another side.
pub(super) fn position_bias(name: &str, heads: usize, side: usize, window: usize) -> Weight {
    let tokens = window * window;
    let sources = vec![source(name.into(), &[heads, side * side], true)];
    Weight::made(
        format!("{name} {window}"),
        &[heads, tokens, tokens],
        sources,
        move |t| {
            let table = bias::resize(&t[0], side, window);
            let mut out = Vec::with_capacity(heads * tokens * tokens);
            for (head, q, k) in (0..heads * tokens * tokens)
                .map(|i| (i / tokens / tokens, i / tokens % tokens, i % tokens))
            {
                let dy = (q / window).abs_diff(k / window);
                let dx = (q % window).abs_diff(k % window);
                out.push(table[head * tokens + dy * window + dx]);
            }
            out
        },
    )
}
