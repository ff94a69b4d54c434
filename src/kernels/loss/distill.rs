//! Losses of distillation over whole vocabularies, and their gradients by the logits, in one dispatch.
//!
//! Gradients are those of the listed rows alone, [P, V]: with the hidden rows gathered by position before the output
//! head, no array of [R, V] is made or copied. Ceilings: logits are read three times and targets twice, mostly from
//! cache, and gradients written once; two exponentials and up to three logarithms an element. Bound by bandwidth for
//! large vocabularies, by five reductions for small ones.

use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "loss/distill.wgsl",
    params {
        count: u32, rows: u32, vocab: u32, inverse_temperature: f32, beta: f32, scale: f32, p_rows: u32,
    },
    binds {
        logits: Read, p: Read, positions: Read, labels: Read, targets: Read,
        loss: Write, dlogits: Write,
    },
}

/// What is made small, of the target's distribution p and the draft's q ("Online Speculative Decoding",
/// arXiv 2310.07177, Eq. 2 to 4).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// KL(p‖q).
    ForwardKl,
    /// KL(q‖p).
    ReverseKl,
    /// β KL(p‖m) + (1 - β) KL(q‖m), m = β p + (1 - β) q.
    Jsd { beta: f32 },
    /// -Σ min(p, q): minus the share of proposals accepted.
    Tv,
    /// -ln q(label).
    CrossEntropy,
}

impl Loss {
    fn choice(self) -> &'static str {
        match self {
            Loss::ForwardKl | Loss::CrossEntropy => "forward_kl",
            Loss::ReverseKl => "reverse_kl",
            Loss::Jsd { .. } => "jsd",
            Loss::Tv => "tv",
        }
    }
}

/// The sizes of a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Positions, P.
    pub count: usize,
    /// Rows of logits, R. A position at or beyond it does not count.
    pub rows: usize,
    /// Tokens, V.
    pub vocab: usize,
    /// Rows of the target's probabilities.
    pub p_rows: usize,
}

/// One dispatch: of logits f32 `[rows, vocab]`, positions u32 `[count]`, p f32 `[p_rows, vocab]` and targets u32
/// `[count]`, the rows of p that belong to them, loss f32 `[count]` and dlogits f32 `[count, vocab]`, the gradient by row positions[i] of the logits. Both are divided by the number of
/// rows that count, so that the sum of `loss` is their mean and `dlogits` its gradient, times `scale`. q is softmax(logits /
/// temperature); p must have been made with the same. Cross-entropy reads labels u32 `[count]`, and p may be bound to
/// the logits; the others do not, and labels may be bound to the positions.
pub fn dispatch(
    shape: Shape,
    kind: Loss,
    [temperature, scale]: [f32; 2],
    binds: Binds,
    caps: &Caps,
) -> Dispatch {
    let params = Params {
        count: shape.count as u32,
        rows: shape.rows as u32,
        vocab: shape.vocab as u32,
        inverse_temperature: 1.0 / temperature,
        beta: match kind {
            Loss::Jsd { beta } => beta,
            _ => 0.0,
        },
        scale,
        p_rows: shape.p_rows as u32,
    };
    let reduce = if caps.subgroups {
        "subgroup"
    } else {
        "workgroup"
    };
    let most = (caps.max_invocations.clamp(32, 256) as usize + 1).next_power_of_two() / 2;
    let hard = kind == Loss::CrossEntropy;
    let elements = (shape.count * shape.vocab) as u64;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32)
            .choose("reduce", reduce)
            .choose("distill", kind.choice())
            .set("WG", shape.vocab.clamp(32, most).next_power_of_two())
            .set("HARD", hard),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(shape.count as u64, caps),
        category: Category::Reduce,
        cost: Cost {
            read_bytes: elements * if hard { 4 } else { 8 },
            write_bytes: elements * 4,
            macs: 0,
        },
    }
}

/// Logits with some that are far below the others, and targets of which some are 0; those of position 0 are q itself.
fn inputs(shape: Shape, temperature: f32, impossible: bool) -> (Vec<f32>, Vec<f32>, Vec<u32>) {
    use crate::shader::noise;
    let vocab = shape.vocab;
    let mut logits: Vec<f32> = noise(1, shape.rows * vocab);
    logits.iter_mut().for_each(|v| *v *= 2.0);
    for (i, v) in logits.iter_mut().enumerate().filter(|i| i.0 % 7 == 3) {
        *v = match i % 3 {
            0 if impossible => f32::NEG_INFINITY,
            1 if impossible => -200.0,
            _ => -20.0,
        };
    }
    let softmax = |z: &[f32]| -> Vec<f32> {
        let e: Vec<f64> = (z.iter())
            .map(|&v| (f64::from(v) / f64::from(temperature)).exp())
            .collect();
        let sum: f64 = e.iter().sum();
        e.iter().map(|v| (v / sum) as f32).collect()
    };
    let positions: Vec<u32> = (0..shape.count as u32)
        .map(|i| match i % 5 {
            3 => u32::MAX,
            _ => (i * 3 + 1) % shape.rows as u32,
        })
        .collect();
    let mut p = Vec::new();
    for (i, z) in (noise(2, shape.count * vocab).chunks(vocab)).enumerate() {
        let mut z: Vec<f32> = z.iter().map(|v| v * 2.0).collect();
        for v in z.iter_mut().skip(i).step_by(4) {
            *v = f32::NEG_INFINITY;
        }
        let first = positions[i] as usize * vocab;
        p.extend(softmax(if i == 0 {
            &logits[first..][..vocab]
        } else {
            &z
        }));
    }
    // Targets are the other way round.
    let p = p.chunks(vocab).rev().flatten().copied().collect();
    (logits, p, positions)
}

const KINDS: [Loss; 6] = [
    Loss::ForwardKl,
    Loss::ReverseKl,
    Loss::Jsd { beta: 0.5 },
    Loss::Jsd { beta: 0.1 },
    Loss::Tv,
    Loss::CrossEntropy,
];

fn case(shape: Shape, kind: Loss, temperature: f32, impossible: bool, caps: &Caps) -> Case {
    use crate::shader::Arg;
    let gradients = if caps.subgroups { 256.0 } else { 1.0 };
    let (logits, p, positions) = inputs(shape, temperature, impossible);
    let binds = Binds {
        logits: Arg(0),
        p: Arg(1),
        positions: Arg(2),
        labels: Arg(3),
        targets: Arg(4),
        loss: Arg(5),
        dlogits: Arg(6),
    };
    // One of them is no token.
    let vocab = shape.vocab as u32;
    let labels = (0..shape.count as u32).map(|i| if i == 2 { vocab } else { i * 5 % vocab });
    Case {
        name: format!("{kind:?} {shape:?}"),
        dispatch: dispatch(shape, kind, [temperature, gradients], binds, caps),
        arrays: vec![
            Array::F32(logits),
            Array::F32(p),
            Array::U32(positions),
            Array::U32(labels.collect()),
            Array::U32((0..shape.count as u32).rev().collect()),
            Array::OutAs(DType::F32, shape.count),
            Array::OutAs(DType::F32, shape.count * shape.vocab),
        ],
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in KINDS {
        for (sizes, temperature, subgroups, max_groups) in [
            ([2, 3, 8], 1.0, false, 65_535),
            ([5, 9, 37], 0.7, true, 65_535),
            ([7, 33, 1031], 1.0, false, 3),
        ] {
            let [count, rows, vocab] = sizes;
            let caps = Caps {
                max_groups,
                subgroups,
                ..Caps::default()
            };
            let shape = Shape {
                count,
                rows,
                vocab,
                p_rows: count,
            };
            cases.push(case(shape, kind, temperature, true, &caps));
        }
    }
    let large = Shape {
        count: 2,
        rows: 3,
        vocab: 40_003,
        p_rows: 2,
    };
    cases.push(case(large, Loss::Tv, 1.0, true, &Caps::default()));
    cases
}

const TINY: f64 = 1e-30;

/// A token's terms of the loss and of the gradient's sum, and its gradient given that sum.
fn token<R: Real>(kind: &str, beta: R, [p, q, log_q]: [R; 3], inner: R) -> [R; 3] {
    let tiny = R::of(TINY);
    let rest = R::of(1.0) - beta;
    match kind {
        "forward_kl" => [p * (p.max(tiny).ln() - log_q), R::zero(), q - p],
        "reverse_kl" => {
            let ratio = (q / p.max(tiny)).max(tiny).ln();
            [q * ratio, q * ratio, q * (ratio - inner)]
        }
        "jsd" => {
            let m = (beta * p + rest * q).max(tiny);
            let (of_p, of_q) = ((p / m).max(tiny).ln(), (q / m).max(tiny).ln());
            let loss = beta * p * of_p + rest * q * of_q;
            [loss, q * of_q, rest * q * (of_q - inner)]
        }
        _ => {
            let below = q < p * R::of(1.0 - 1.0 / 16384.0);
            let below = R::of(if below { 1.0 } else { 0.0 });
            let least = if p < q { p } else { q };
            [R::zero() - least, q * below, q * (inner - below)]
        }
    }
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let par: Params = case.params();
    let (rows, vocab) = (par.rows as usize, par.vocab as usize);
    let (positions, labels, targets) = (case.whole(2), case.whole(3), case.whole(4));
    let hard = case.variant().bool("HARD");
    let kind = case.variant().choice("distill");
    let (beta, scale) = (
        R::of(f64::from(par.beta)),
        R::of(f64::from(par.inverse_temperature)),
    );
    let counts =
        |&i: &usize| (positions[i] as usize) < rows && (!hard || (labels[i] as usize) < vocab);
    let counted = (0..positions.len()).filter(counts).count().max(1);
    let part = R::of(1.0) / R::of(counted as f64);
    let slope = part * scale * R::of(f64::from(par.scale));
    let (mut loss, mut dlogits) = (Vec::new(), Vec::new());
    for i in 0..positions.len() {
        if !counts(&i) {
            loss.push(R::zero());
            dlogits.extend(vec![R::zero(); vocab]);
            continue;
        }
        let row = &arrays[0][positions[i] as usize * vocab..][..vocab];
        let z: Vec<R> = (row.iter()).map(|&v| v.max(R::of(-1e30)) * scale).collect();
        let most = z.iter().fold(z[0], |a, &b| a.max(b));
        let sum: R = z.iter().map(|&v| (v - most).exp()).sum();
        let at = |c: usize| -> [R; 3] {
            let p = match hard {
                true => R::of(f64::from(u8::from(c == labels[i] as usize))),
                false => arrays[1][targets[i] as usize * vocab + c],
            };
            let log_q = (z[c] - most - sum.ln()).max(R::of(-1e4));
            [p, (z[c] - most).exp() / sum, log_q]
        };
        let terms = |k: usize| -> R {
            (0..vocab)
                .map(|c| token(kind, beta, at(c), R::zero())[k])
                .sum()
        };
        let inner = terms(1);
        loss.push(terms(0) * part);
        dlogits.extend((0..vocab).map(|c| token(kind, beta, at(c), inner)[2] * slope));
    }
    vec![loss, dlogits]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        count: 5,
        rows: 16,
        vocab: 11,
        p_rows: 5,
    };

    fn arrays(case: &Case) -> Vec<Vec<f64>> {
        (case.arrays.iter())
            .map(|a| match a {
                Array::F32(v) => v.iter().map(|&v| f64::from(v)).collect(),
                _ => Vec::new(),
            })
            .collect()
    }

    #[test]
    fn gradients_are_the_losses_slopes() {
        for kind in KINDS {
            let case = case(SHAPE, kind, 0.7, false, &Caps::default());
            let mut arrays = arrays(&case);
            let dlogits = reference(&case, &arrays).swap_remove(1);
            let mut worst = 0.0_f64;
            for i in 1..SHAPE.count {
                let position = case.whole(2)[i] as usize;
                for c in 0..SHAPE.vocab {
                    let slope = if position < SHAPE.rows {
                        let at = position * SHAPE.vocab + c;
                        let mut loss_at = |step: f64| {
                            let before = arrays[0][at];
                            arrays[0][at] += step;
                            let loss = reference(&case, &arrays)[0][i];
                            arrays[0][at] = before;
                            loss
                        };
                        (loss_at(1e-6) - loss_at(-1e-6)) / 2e-6
                    } else {
                        0.0
                    };
                    worst = worst.max((slope - dlogits[i * SHAPE.vocab + c]).abs());
                }
            }
            assert!(worst < 1e-8, "{kind:?}: {worst:e}");
        }
    }

    #[test]
    fn a_draft_like_its_target_has_no_gradient() {
        for kind in &KINDS[..5] {
            let case = case(SHAPE, *kind, 1.0, true, &Caps::default());
            let dlogits = reference(&case, &arrays(&case)).swap_remove(1);
            let most = |v: &[f64]| v.iter().fold(0.0_f64, |a, v| a.max(v.abs()));
            let (alike, other) = dlogits.split_at(SHAPE.vocab);
            assert!(most(alike) < 1e-7, "{kind:?}: {:e}", most(alike));
            assert!(most(other) > 1e-3, "{kind:?}: {:e}", most(other));
        }
    }
}
