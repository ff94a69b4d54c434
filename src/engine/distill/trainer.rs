//! Steps of training: forward, backward and the change of the weights are one plan, and weights, moments and what is
//! gathered of gradients stay on the device.

use super::batch::{Batch, few, likeliest};
use super::host::Parked;
use super::parts::{Pace, Timed, sum};
use super::plan::{LOSS_SCALE, Shape, Then, fits, kept, moment};
use super::settings::Settings;
use super::standing::Standing;
use super::table::Table;
use crate::device::{Executable, Store};
use crate::engine::language::Language;
use crate::error::{Error, Result};
use crate::graph::{Source, Weight};
use crate::kernels::loss::distill::Loss;
use crate::kernels::optim::{CONTROL, LIMIT, NORM, RATE, control};
use crate::models::language::Addition;
use crate::plan::{Options, Plan};
use crate::shader::noise;
use crate::tensor::{DType, Format};
use std::collections::HashMap;
use std::sync::Arc;

/// What a row that does not count is marked by.
const NONE: u32 = u32::MAX;
/// Steps before the first of which an explosion is told by nothing.
const SETTLED: u64 = 8;
/// What the scale of a loss in halves is divided by where gradients were no numbers, down to [`LEAST_SCALE`].
const SCALE_STEP: f32 = 4.0;
const LEAST_SCALE: f32 = 1.0;

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

/// A draft in training. Its weights are f32 whatever the draft is served with.
pub struct Trainer {
    pub(super) model: Arc<Language>,
    settings: Settings,
    pub(super) store: Store,
    /// What is changed: all weights, or the additions to them.
    pub(super) trained: Vec<Weight>,
    pub(super) plans: HashMap<(Shape, Then), Arc<Timed>>,
    /// The copies of all that can be gone back to: away, and back.
    pub(super) copies: [Option<Arc<Timed>>; 2],
    pub(super) pace: Pace,
    pub(super) table: Table,
    pub(super) standing: Arc<Standing>,
    pub(super) steps: u64,
    pub(super) rejected: u64,
    /// Rejected steps since the last that was not.
    in_a_row: u64,
    /// Of the settings' learning rate.
    rate: f32,
    /// Of a row's gradients where products are made of halves.
    pub(super) loss_scale: f32,
    /// The mean norm of the last steps, each one weighing a tenth.
    pub(super) norm: Option<f64>,
    /// Steps and mean norm of what is marked.
    pub(super) marked: Option<(u64, Option<f64>)>,
    /// The losses of a step's parts so far.
    gathered: f64,
    /// What is on the host in the place of the store.
    pub(super) parked: Option<Arc<Parked>>,
}

impl Trainer {
    /// A trainer of `model`, with the weights of its checkpoint.
    ///
    /// # Errors
    /// [`Error::Usage`] where the settings cannot be; what reading weights and making memory return.
    pub fn new(model: &Arc<Language>, settings: Settings) -> Result<Self> {
        settings.check()?;
        let (store, layers) = (Store::new(model.device()), model.layers());
        let put = |weight: &Weight, values: &[f32]| -> Result<()> {
            store.make(&weight.name, DType::F32, values.len())?;
            store.write(&weight.name, 0, bytemuck::cast_slice(values))
        };
        for weight in layers.weights() {
            put(weight, &weight.values(&|source| model.values(source))?)?;
        }
        let mut trained: Vec<Weight> = layers.weights().into_iter().cloned().collect();
        if let Some(rank) = settings.low_rank {
            fits(layers, rank)?;
            trained.clear();
            for Addition { a, b, .. } in layers.additions(rank) {
                // Nothing is added at first: a is noise, b is zero.
                let (n, depth) = (a.shape.iter().product(), a.shape[1] as f32);
                let noise = noise(trained.len() as u32 + settings.seed, n);
                let noise: Vec<f32> = noise.iter().map(|v| v / (3.0 * depth).sqrt()).collect();
                put(&a, &noise)?;
                put(&b, &vec![0.0; b.shape.iter().product()])?;
                trained.extend([a, b]);
            }
        }
        for weight in &trained {
            let n = weight.shape.iter().product();
            for kept in settings.optimizer.keeps() {
                store.make(&moment(kept, &weight.name), DType::F32, n)?;
            }
        }
        store.make("control", DType::F32, CONTROL)?;
        let start = control(0, settings.lr);
        store.write("control", 0, bytemuck::cast_slice(&start))?;
        let all = layers.weights().into_iter().cloned().collect();
        let standing = Standing::new(all, &store);
        Ok(Self {
            model: model.clone(),
            settings,
            store,
            trained,
            plans: HashMap::new(),
            copies: [None, None],
            pace: Pace::default(),
            table: Table::default(),
            standing: Arc::new(standing),
            steps: 0,
            rejected: 0,
            in_a_row: 0,
            rate: 1.0,
            loss_scale: LOSS_SCALE,
            norm: None,
            marked: None,
            gathered: 0.0,
            parked: None,
        })
    }

    pub fn model(&self) -> &Arc<Language> {
        &self.model
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether products are made of halves.
    pub(super) fn halves(&self) -> bool {
        self.settings.halves && self.model.device().caps().matrix_units(DType::F16)
    }

    /// Steps made, rejected ones included.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The share of the settings' learning rate that steps take.
    pub fn rate(&self) -> f32 {
        self.rate
    }

    /// Has steps take that share of the settings' learning rate from now on.
    pub fn slow_to(&mut self, rate: f32) {
        self.rate = rate;
    }

    /// Plans made so far, one for each size of batch.
    pub fn plans(&self) -> usize {
        self.plans.len()
    }

    /// Steps that changed nothing: their gradients were no numbers, or exploded.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// The last so many steps were rejected, but for those that told that halves need another scale: where they are
    /// several, the weights themselves may be spoilt.
    pub fn rejected_in_a_row(&self) -> u64 {
        self.in_a_row
    }

    /// Bytes of weights, moments and inputs on the device; what a run works on comes to it.
    pub fn bytes(&self) -> u64 {
        self.store.bytes().1
    }

    /// Bytes that the largest plan works on beside them: activations, gradients.
    pub fn working_bytes(&self) -> u64 {
        let all = self.plans.values().map(|p| p.run.plan().slot_bytes());
        all.max().unwrap_or(0)
    }

    /// One step on `batches`, whose gradients' mean changes the weights: several for a batch that is too large at once.
    ///
    /// # Errors
    /// [`Error::Usage`] where a batch cannot be; what planning and running return.
    pub fn step(&mut self, batches: &[Batch]) -> Result<Step> {
        for batch in batches {
            self.check(batch, self.hard())?;
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
        self.begin_part(batch, index, of)?;
        self.end_part(index, of)
    }

    /// Makes all but the batch ready for a part of a step; what becomes of its gradients.
    pub(super) fn prepare(&mut self, batch: &Batch, index: usize, of: usize) -> Result<Then> {
        self.check(batch, self.hard())?;
        if index == 0 {
            self.gathered = 0.0;
        }
        self.wake()?;
        let rate = self.rate * self.settings.rate(self.steps);
        let limit = match self.norm.filter(|_| self.steps >= SETTLED) {
            Some(norm) => (norm * f64::from(self.settings.explosion)) as f32,
            None => 0.0,
        };
        self.store.write("control", RATE, &[rate.to_bits()])?;
        self.store.write("control", LIMIT, &[limit.to_bits()])?;
        Ok(match of {
            1 => Then::Update,
            _ if index + 1 < of => Then::Gather(of),
            _ => Then::Finish(of),
        })
    }

    /// Takes note of what a part of a step left: losses and, after the last, `control`.
    pub(super) fn note(
        &mut self,
        out: &[Vec<f32>],
        index: usize,
        of: usize,
    ) -> Result<Option<Step>> {
        self.gathered += self.loss_of(out);
        let (false, Some(control)) = (index + 1 < of, out.get(1)) else {
            return Ok(None);
        };
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
                self.in_a_row = 0;
            }
            false => {
                self.rejected += 1;
                if self.halves() && !step.norm.is_finite() && self.loss_scale > LEAST_SCALE {
                    // It is a constant of the plans.
                    self.loss_scale /= SCALE_STEP;
                    self.plans.clear();
                } else {
                    self.in_a_row += 1;
                }
            }
        }
        Ok(Some(step))
    }

    /// The mean Σ min(p, q) over the rows of `batch`: how likely the target accepts what the draft, as it is trained by
    /// now, draws there. No weight changes.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn overlap(&mut self, batch: &Batch) -> Result<f64> {
        self.begin_overlap(batch)?;
        Ok(self.scored()?.overlap)
    }

    /// The loss of `batch`, and the gradient of each weight that is trained by it, without a change: of all weights in
    /// the order and the rows of [`Trainer::weights`], or of the additions to them.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn gradients(&mut self, batch: &Batch) -> Result<(f64, Vec<Vec<f32>>)> {
        self.check(batch, self.hard())?;
        let what = self.ready(batch, Then::Keep)?;
        self.begin(what);
        let out = self.outcome()?;
        let loss = self.loss_of(&out);
        let read = |w: &Weight| Ok(self.store.read(&kept(w))?.to_f32());
        let grads = self.trained.iter().map(read).collect::<Result<Vec<_>>>()?;
        Ok((loss, grads))
    }

    /// Whether the loss takes labels alone.
    pub(super) fn hard(&self) -> bool {
        self.settings.loss == Loss::CrossEntropy
    }

    pub(super) fn check(&self, batch: &Batch, hard: bool) -> Result<()> {
        batch.check(self.model.config().vocab(), hard)?;
        let with = |has| if has { "with" } else { "without" };
        match (self.model.has_encoder(), batch.prompts.len > 0) {
            (true, true) | (false, false) => Ok(()),
            (model, batch) => Err(Error::Usage(format!(
                "{}: a model {} an encoder was given a batch {} prompts for one",
                self.model.name(),
                with(model),
                with(batch)
            ))),
        }
    }

    /// The mean loss of a run.
    pub(super) fn loss_of(&self, out: &[Vec<f32>]) -> f64 {
        // The kernel's is minus the share that is accepted.
        match self.settings.loss {
            Loss::Tv => 1.0 + sum(out),
            _ => sum(out),
        }
    }

    /// The plan for `batch`, made where there is none of its size yet, with `batch` where it reads it.
    pub(super) fn ready(&mut self, batch: &Batch, then: Then) -> Result<Arc<Timed>> {
        self.wake()?;
        let shape = Shape {
            sequences: batch.sequences(),
            len: batch.len,
            prompt: batch.prompts.len,
            // Few sizes, so that few plans are made.
            rows: few(batch.rows.len()).max(8),
            table: if batch.slots.is_empty() {
                0
            } else {
                self.table.rows
            },
        };
        let loaded = match self.plans.get(&(shape, then)) {
            Some(known) => known.clone(),
            None => {
                let graph = self.graph(shape, then)?;
                let device = self.model.device();
                let options = Options {
                    weights: match self.halves() {
                        true => Format::F16,
                        false => Format::F32,
                    },
                    ..Options::new(DType::F32)
                };
                let plan = Plan::new(&graph, device.caps(), &options)?;
                let none = |source: &Source| -> Result<Vec<f32>> {
                    Err(Error::Plan(format!(
                        "`{}` is no constant here",
                        source.name
                    )))
                };
                let run = Executable::load_in(&self.store, Arc::new(plan), &none)?;
                let made = Arc::new(Timed::new(run));
                self.plans.insert((shape, then), made.clone());
                made
            }
        };
        let (count, vocab) = (batch.rows.len(), self.model.config().vocab());
        let name = |what| shape.name(what);
        let pad = shape.rows - count;
        let rows = [&batch.rows[..], &vec![0; pad]].concat();
        let marks: Vec<u32> = (0..count as u32)
            .chain(std::iter::repeat_n(NONE, pad))
            .collect();
        let prompts = &batch.prompts;
        let tokens = [&prompts.tokens[..], &batch.tokens].concat();
        self.store.write(&name("tokens"), 0, &tokens)?;
        if prompts.len > 0 {
            self.store.write(&name("lengths"), 0, &prompts.lengths)?;
        }
        self.store.write(&name("rows"), 0, &rows)?;
        self.store.write(&name("marks"), 0, &marks)?;
        let hard = self.hard() && then != Then::Score;
        if hard {
            let likeliest = || batch.probs.chunks(vocab).map(likeliest).collect();
            let labels: Vec<u32> = batch.labels.clone().unwrap_or_else(likeliest);
            self.store.write(&name("labels"), 0, &labels)?;
        } else if shape.table > 0 {
            self.store.write(&name("targets"), 0, &batch.slots)?;
        } else {
            let probs = bytemuck::cast_slice(&batch.probs);
            self.store.write(&name("probs"), 0, probs)?;
        }
        Ok(loaded)
    }
}
