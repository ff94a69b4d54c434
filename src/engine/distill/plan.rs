//! The graph of a step: forward, backward, and what becomes of the gradients.

use super::settings::{MEAN, Optimizer, SQUARE, VELOCITY};
use super::table::TABLE;
use super::trainer::Trainer;
use crate::engine::language::Layers;
use crate::error::{Error, Result};
use crate::graph::{Finished, Graph, Value, Weight};
use crate::kernels::loss::distill::Loss;
use crate::kernels::optim::adamw;
use crate::models::language::{Training, trained};
use crate::ops::Taught;
use crate::tensor::DType;

/// Halves hold numbers from 6e-8 to 65504: a row's gradients, of mean 1 / rows at most, begin in the middle (loss scaling,
/// Micikevicius et al., arXiv 1710.03740). What is too large all the same becomes infinite: the step is rejected, and
/// those after it have a smaller scale.
pub(super) const LOSS_SCALE: f32 = 256.0;

/// The sizes of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub sequences: usize,
    pub len: usize,
    /// Tokens that an encoder reads of each sequence; 0 without one.
    pub prompt: usize,
    pub rows: usize,
    /// Rows of the table that distributions are in; 0 where they come with the batch.
    pub table: usize,
}

/// What a plan does with its gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Then {
    /// Changes the weights by them.
    Update,
    /// Gathers a share of 1 / `.0` of them.
    Gather(usize),
    /// Gathers them, too, then changes the weights by what was gathered.
    Finish(usize),
    /// Leaves them to be read.
    Keep,
    /// Computes none: the loss alone.
    Loss,
    /// Computes none: Σ min(p, q), and the norm of what is trained.
    Score,
}

impl Shape {
    pub fn name(&self, what: &str) -> String {
        let Self {
            sequences,
            len,
            prompt,
            rows,
            ..
        } = self;
        format!("{what} {sequences}x{prompt}+{len} {rows}")
    }
}

/// The state of what is kept of a weight's past gradients.
pub(super) fn moment(of: &str, weight: &str) -> String {
    format!("{of} {weight}")
}

/// The state in which a weight's gradients are gathered.
pub(super) fn gathered(weight: &Weight) -> String {
    format!("gradient {}", weight.name)
}

/// The state of a weight's gradient that is kept to be read.
pub(super) fn kept(weight: &Weight) -> String {
    format!("kept {}", weight.name)
}

/// Refuses additions of a rank that is beyond what they are added to.
pub(super) fn fits(layers: &Layers, rank: usize) -> Result<()> {
    let sides = layers.additions(1);
    let sides = sides.iter().flat_map(|add| add.to.shape.iter().copied());
    match sides.min().filter(|&least| rank > least) {
        Some(least) => Err(Error::Usage(format!(
            "additions of rank {rank} are larger than what they are added to; expected at most {least}"
        ))),
        None => Ok(()),
    }
}

impl Trainer {
    pub(super) fn graph(&self, shape: Shape, then: Then) -> Result<Finished> {
        let g = Graph::new();
        let vocab = self.model().config().vocab();
        let s = self.settings();
        let words = |what: &str, n: usize| g.state(shape.name(what), &[n], DType::U32);
        let tokens = words("tokens", shape.sequences * (shape.prompt + shape.len));
        let training = Training {
            again: s.recompute,
            rank: s.low_rank,
        };
        // Of the last layer's rows only those that are taught need logits.
        let rows = words("rows", shape.rows);
        let logits = match self.model().layers() {
            Layers::Llama(llama) => {
                let hidden = llama.train(tokens, shape.len, training);
                llama.train_logits(hidden.rows_of(rows))
            }
            Layers::T5(t5) => {
                let lengths = words("lengths", shape.sequences);
                let sizes = [shape.prompt, shape.len];
                let hidden = t5.train(tokens, lengths, sizes, training);
                t5.train_logits(hidden.rows_of(rows))
            }
        };
        let hard = s.loss == Loss::CrossEntropy && then != Then::Score;
        let marks = words("marks", shape.rows);
        let taught = Taught {
            rows: marks,
            probs: match (hard, shape.table) {
                (true, _) => logits,
                (_, 0) => g.state(shape.name("probs"), &[shape.rows, vocab], DType::F32),
                (_, rows) => g.state(TABLE, &[rows, vocab], DType::F32),
            },
            targets: match shape.table {
                0 => marks,
                _ => words("targets", shape.rows),
            },
            labels: match hard {
                true => words("labels", shape.rows),
                false => marks,
            },
        };
        // The last layer's first: so each layer's activations are free once its gradients are there.
        let weights: Vec<&Weight> = self.trained.iter().rev().collect();
        let values: Vec<Value> = weights.iter().map(|w| trained(&g, w)).collect();
        if then == Then::Score {
            let [score, _] = logits.distill(&taught, Loss::Tv, s.temperature, 1.0);
            g.output("score", score);
            g.output("norm", g.norm_of(&values));
            return g.finish();
        }
        // Gradients of the mean over rows are small: in halves all of them are computed times `scale`.
        let scale = match self.halves() {
            true => self.loss_scale * shape.rows.next_power_of_two() as f32,
            false => 1.0,
        };
        if then == Then::Loss {
            let [loss, _] = logits.distill(&taught, s.loss, s.temperature, 1.0);
            g.output("loss", loss);
            return g.finish();
        }
        let [loss, dlogits] = logits.distill(&taught, s.loss, s.temperature, scale);
        let grads = g.grad_from(&[(logits, dlogits)], &values);
        let gather = |share: f32| -> Vec<Value> {
            (weights.iter().zip(&grads))
                .map(|(w, grad)| {
                    let sum = g.state(gathered(w), &w.shape, DType::F32);
                    sum.add_to(*grad, share)
                })
                .collect()
        };
        let done = match then {
            Then::Update | Then::Score | Then::Loss => self.update(&g, &weights, &grads, scale),
            Then::Gather(of) => gather(1.0 / (of as f32 * scale)),
            Then::Keep => (weights.iter().zip(&grads))
                .map(|(w, grad)| {
                    let copy = g.state(kept(w), &w.shape, DType::F32);
                    copy.clear(&[]).add_to(*grad, 1.0 / scale)
                })
                .collect(),
            Then::Finish(of) => {
                let all = gather(1.0 / (of as f32 * scale));
                let changed = self.update(&g, &weights, &all, 1.0);
                all.iter().map(|sum| sum.clear(&changed)).collect()
            }
        };
        g.output("loss", loss.after(&done));
        if let Then::Update | Then::Finish(_) = then {
            g.output("control", g.control().after(&done));
        }
        g.finish()
    }

    /// Changes the weights by `grads`, which are times `scale`.
    fn update<'g>(
        &self,
        g: &'g Graph,
        weights: &[&Weight],
        grads: &[Value<'g>],
        scale: f32,
    ) -> Vec<Value<'g>> {
        let control = g.clip(grads, self.settings().clip, scale);
        let weight_decay = self.settings().weight_decay;
        let change = |(w, grad): (&&Weight, &Value<'g>)| {
            let moment = |of: &str| g.state(moment(of, &w.name), &w.shape, DType::F32);
            let value = trained(g, w);
            match self.settings().optimizer {
                Optimizer::AdamW { betas, eps } => {
                    let settings = adamw::Settings {
                        betas,
                        eps,
                        weight_decay,
                    };
                    let moments = [moment(MEAN), moment(SQUARE)];
                    value.adamw(*grad, moments, control, settings)
                }
                Optimizer::Sgd { momentum } => {
                    value.sgd(*grad, moment(VELOCITY), control, momentum, weight_decay)
                }
            }
        };
        weights.iter().zip(grads).map(change).collect()
    }
}
