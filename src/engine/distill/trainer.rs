//! Steps of training: forward, backward and the change of the weights are one plan, and weights, moments and what is
//! gathered of gradients stay on the device.

use super::batch::Batch;
use super::settings::{MEAN, Optimizer, SQUARE, Settings, VELOCITY};
use crate::device::{Executable, Store};
use crate::engine::language::Language;
use crate::error::{Error, Result};
use crate::graph::{Finished, Graph, Source, Value, Weight};
use crate::kernels::loss::distill::Loss;
use crate::kernels::optim::{CONTROL, LIMIT, NORM, RATE, adamw, control};
use crate::models::llama::{Llama, trained};
use crate::ops::Taught;
use crate::plan::{Options, Plan};
use crate::tensor::DType;
use std::collections::HashMap;
use std::sync::Arc;

/// What a row that does not count is marked by.
const NONE: u32 = u32::MAX;
/// Steps before the first of which an explosion is told by nothing.
const SETTLED: u64 = 8;

/// What a step was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Before the step.
    pub loss: f64,
    /// Of all gradients, before clipping.
    pub norm: f64,
    /// Whether the weights were changed: not where the norm is no number or exploded.
    pub applied: bool,
}

/// The sizes of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    sequences: usize,
    len: usize,
    rows: usize,
}

/// What a plan does with its gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Then {
    /// Changes the weights by them.
    Update,
    /// Gathers a share of 1 / `.0` of them.
    Gather(usize),
    /// Gathers them, too, then changes the weights by what was gathered.
    Finish(usize),
    /// Leaves them to be read.
    Keep,
    /// Computes none: Σ min(p, q) alone.
    Score,
}

/// A draft in training. Its weights are f32 whatever the draft is served with.
pub struct Trainer {
    model: Arc<Language>,
    settings: Settings,
    pub(super) store: Store,
    plans: HashMap<(Shape, Then), Executable>,
    pub(super) steps: u64,
    pub(super) rejected: u64,
    /// The mean norm of the last steps, each one weighing a tenth.
    pub(super) norm: Option<f64>,
    /// Steps and mean norm of what is marked.
    pub(super) marked: Option<(u64, Option<f64>)>,
    /// The losses of a step's parts so far.
    gathered: f64,
}

impl Trainer {
    /// A trainer of `model`, with the weights of its checkpoint.
    ///
    /// # Errors
    /// [`Error::Usage`] where the settings cannot be or the model is none that can be trained; what reading weights
    /// and making memory return.
    pub fn new(model: &Arc<Language>, settings: Settings) -> Result<Self> {
        settings.check()?;
        let store = Store::new(model.device());
        for weight in llama(model)?.weights() {
            let values = weight.values(&|source| model.values(source))?;
            store.make(&weight.name, DType::F32, values.len())?;
            store.write(&weight.name, 0, bytemuck::cast_slice(&values))?;
            for kept in settings.optimizer.keeps() {
                store.make(&moment(kept, &weight.name), DType::F32, values.len())?;
            }
        }
        store.make("control", DType::F32, CONTROL)?;
        let start = control(0, settings.lr);
        store.write("control", 0, bytemuck::cast_slice(&start))?;
        Ok(Self {
            model: model.clone(),
            settings,
            store,
            plans: HashMap::new(),
            steps: 0,
            rejected: 0,
            norm: None,
            marked: None,
            gathered: 0.0,
        })
    }

    pub fn model(&self) -> &Arc<Language> {
        &self.model
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Steps made, rejected ones included.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Plans made so far, one for each size of batch.
    pub fn plans(&self) -> usize {
        self.plans.len()
    }

    /// Steps that changed nothing: their gradients were no numbers, or exploded.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Bytes of weights, moments and inputs on the device; what a run works on comes to it.
    pub fn bytes(&self) -> u64 {
        self.store.bytes().1
    }

    /// One step on `batches`, whose gradients' mean changes the weights: several for a batch that is too large at once.
    ///
    /// # Errors
    /// [`Error::Usage`] where a batch cannot be; what planning and running return.
    pub fn step(&mut self, batches: &[Batch]) -> Result<Step> {
        let hard = self.settings.loss == Loss::CrossEntropy;
        for batch in batches {
            batch.check(self.model.config().vocab(), hard)?;
        }
        for (i, batch) in batches.iter().enumerate() {
            if let Some(step) = self.part(batch, i, batches.len())? {
                return Ok(step);
            }
        }
        Err(Error::Usage("a step needs at least one batch".into()))
    }

    /// Part `index` of the `of` of a step, which follow one another: other work of the device may come in between. The
    /// last one changes the weights, and returns what the step was.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn part(&mut self, batch: &Batch, index: usize, of: usize) -> Result<Option<Step>> {
        let hard = self.settings.loss == Loss::CrossEntropy;
        batch.check(self.model.config().vocab(), hard)?;
        if index == 0 {
            self.gathered = 0.0;
        }
        let rate = self.settings.rate(self.steps);
        let limit = match self.norm.filter(|_| self.steps >= SETTLED) {
            Some(norm) => (norm * f64::from(self.settings.explosion)) as f32,
            None => 0.0,
        };
        self.store.write("control", RATE, &[rate.to_bits()])?;
        self.store.write("control", LIMIT, &[limit.to_bits()])?;
        let then = match of {
            1 => Then::Update,
            _ if index + 1 < of => Then::Gather(of),
            _ => Then::Finish(of),
        };
        self.gathered += self.run(batch, then)?;
        if index + 1 < of {
            return Ok(None);
        }
        let control = self.store.read("control")?.to_f32();
        let step = Step {
            loss: self.gathered / of as f64,
            norm: f64::from(control[NORM]),
            applied: control[1] == 0.0,
        };
        self.steps += 1;
        match step.applied {
            true => {
                let before = self.norm.unwrap_or(step.norm);
                self.norm = Some(0.9 * before + 0.1 * step.norm);
            }
            false => self.rejected += 1,
        }
        Ok(Some(step))
    }

    /// The mean Σ min(p, q) over the rows of `batch`: how likely the target accepts what the draft, as it is trained by
    /// now, draws there. No weight changes.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn overlap(&mut self, batch: &Batch) -> Result<f64> {
        batch.check(self.model.config().vocab(), false)?;
        self.run(batch, Then::Score)
    }

    /// The loss of `batch`, and the gradient of each weight by it, without a change, in the order and the rows of
    /// [`Llama::weights`].
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn gradients(&mut self, batch: &Batch) -> Result<(f64, Vec<Vec<f32>>)> {
        let hard = self.settings.loss == Loss::CrossEntropy;
        batch.check(self.model.config().vocab(), hard)?;
        let loss = self.run(batch, Then::Keep)?;
        let names = llama(&self.model)?.weights();
        let read = |w: &&Weight| Ok(self.store.read(&kept(w))?.to_f32());
        let grads = names.iter().map(read).collect::<Result<Vec<_>>>()?;
        Ok((loss, grads))
    }

    /// The values of each weight, as [`Llama::weights`] has them.
    ///
    /// # Errors
    /// What reading returns.
    pub fn weights(&self) -> Result<Vec<(Weight, Vec<f32>)>> {
        let all = llama(&self.model)?.weights();
        (all.into_iter())
            .map(|w| Ok((w.clone(), self.store.read(&w.name)?.to_f32())))
            .collect()
    }

    /// The names of all weights.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let all = llama(&self.model)?.weights();
        Ok(all.into_iter().map(|w| w.name.clone()).collect())
    }

    /// Runs one plan; its loss.
    fn run(&mut self, batch: &Batch, then: Then) -> Result<f64> {
        let shape = Shape {
            sequences: batch.sequences(),
            len: batch.len,
            // Few sizes, so that few plans are made.
            rows: batch.rows.len().next_power_of_two().max(8),
        };
        if !self.plans.contains_key(&(shape, then)) {
            let graph = self.graph(shape, then)?;
            let device = self.model.device();
            let plan = Arc::new(Plan::new(&graph, device.caps(), &Options::new(DType::F32))?);
            let none = |source: &Source| -> Result<Vec<f32>> {
                Err(Error::Plan(format!(
                    "`{}` is no constant here",
                    source.name
                )))
            };
            let loaded = Executable::load_in(&self.store, plan, &none)?;
            self.plans.insert((shape, then), loaded);
        }
        let (count, vocab) = (batch.rows.len(), self.model.config().vocab());
        let name = |what| shape.name(what);
        let pad = shape.rows - count;
        let rows = [&batch.rows[..], &vec![0; pad]].concat();
        let marks: Vec<u32> = (0..count as u32)
            .chain(std::iter::repeat_n(NONE, pad))
            .collect();
        self.store.write(&name("tokens"), 0, &batch.tokens)?;
        self.store.write(&name("rows"), 0, &rows)?;
        self.store.write(&name("marks"), 0, &marks)?;
        let hard = self.settings.loss == Loss::CrossEntropy && then != Then::Score;
        if hard {
            let likeliest = || batch.probs.chunks(vocab).map(likeliest).collect();
            let labels: Vec<u32> = batch.labels.clone().unwrap_or_else(likeliest);
            self.store.write(&name("labels"), 0, &labels)?;
        } else {
            let probs = bytemuck::cast_slice(&batch.probs);
            self.store.write(&name("probs"), 0, probs)?;
        }
        let out = self.plans[&(shape, then)].run(&[])?;
        let sum: f64 = out[0].to_f32().into_iter().map(f64::from).sum();
        // The kernel's is minus the share that is accepted.
        Ok(match self.settings.loss {
            _ if then == Then::Score => -sum,
            Loss::Tv => 1.0 + sum,
            _ => sum,
        })
    }

    fn graph(&self, shape: Shape, then: Then) -> Result<Finished> {
        let (llama, g) = (llama(&self.model)?, Graph::new());
        let vocab = self.model.config().vocab();
        let s = &self.settings;
        let words = |what: &str, n: usize| g.state(shape.name(what), &[n], DType::U32);
        let tokens = words("tokens", shape.sequences * shape.len);
        // Of the last layer's rows only those that are taught need logits.
        let hidden = llama.train(tokens, shape.len);
        let logits = llama.train_logits(hidden.rows_of(words("rows", shape.rows)));
        let hard = s.loss == Loss::CrossEntropy && then != Then::Score;
        let marks = words("marks", shape.rows);
        let taught = Taught {
            rows: marks,
            probs: match hard {
                true => logits,
                false => g.state(shape.name("probs"), &[shape.rows, vocab], DType::F32),
            },
            labels: match hard {
                true => words("labels", shape.rows),
                false => marks,
            },
        };
        if then == Then::Score {
            let [score, _] = logits.distill(&taught, Loss::Tv, s.temperature);
            g.output("score", score);
            return g.finish();
        }
        let [loss, dlogits] = logits.distill(&taught, s.loss, s.temperature);
        let weights = llama.weights();
        let values: Vec<Value> = weights.iter().map(|w| trained(&g, w)).collect();
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
            Then::Update | Then::Score => self.update(&g, &weights, &grads),
            Then::Gather(of) => gather(1.0 / of as f32),
            Then::Keep => (weights.iter().zip(&grads))
                .map(|(w, grad)| {
                    let copy = g.state(kept(w), &w.shape, DType::F32);
                    copy.clear(&[]).add_to(*grad, 1.0)
                })
                .collect(),
            Then::Finish(of) => {
                let all = gather(1.0 / of as f32);
                let changed = self.update(&g, &weights, &all);
                all.iter().map(|sum| sum.clear(&changed)).collect()
            }
        };
        g.output("loss", loss.after(&done));
        g.finish()
    }

    /// Changes the weights by `grads`.
    fn update<'g>(&self, g: &'g Graph, weights: &[&Weight], grads: &[Value<'g>]) -> Vec<Value<'g>> {
        let control = g.clip(grads, self.settings.clip);
        let weight_decay = self.settings.weight_decay;
        let change = |(w, grad): (&&Weight, &Value<'g>)| {
            let moment = |of: &str| g.state(moment(of, &w.name), &w.shape, DType::F32);
            let value = trained(g, w);
            match self.settings.optimizer {
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

impl Shape {
    fn name(&self, what: &str) -> String {
        format!("{what} {}x{} {}", self.sequences, self.len, self.rows)
    }
}

/// The state of what is kept of a weight's past gradients.
pub(super) fn moment(of: &str, weight: &str) -> String {
    format!("{of} {weight}")
}

/// The state in which a weight's gradients are gathered.
fn gathered(weight: &Weight) -> String {
    format!("gradient {}", weight.name)
}

/// The state of a weight's gradient that is kept to be read.
fn kept(weight: &Weight) -> String {
    format!("kept {}", weight.name)
}

fn llama(model: &Language) -> Result<&Llama> {
    model.llama().ok_or_else(|| {
        Error::Usage(format!(
            "{}: training is built for Llama and models with its layers, not for one with an encoder",
            model.name()
        ))
    })
}

fn likeliest(probs: &[f32]) -> u32 {
    let best = (probs.iter().enumerate()).max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |b| b.0 as u32)
}
