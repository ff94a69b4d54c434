//! New weights for a model that is served, packed on the device from the states that a trainer keeps them in.

use super::model::Language;
use crate::device::{Executable, Store};
use crate::error::{Error, Result};
use crate::graph::{Encode, Pack};
use crate::kernels::elementwise::copy;
use crate::kernels::matmul::pack::Packing;
use crate::kernels::matmul::{repack, repack_q8_0};
use crate::plan::{Buffer, Plan, Role, Step};
use crate::shader::{Arg, Caps, Dispatch};
use crate::tensor::{DType, Format, Layout};
use std::collections::HashMap;
use std::sync::Arc;

/// A run that writes the constants of a model anew from states that bear its weights' names.
pub struct Renewal {
    run: Executable,
    /// Constants that there were when it was made.
    constants: usize,
}

impl Renewal {
    /// Submits it: rounds submitted before run on the old weights, those submitted later on the new ones.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub fn submit(&self) -> Result<()> {
        self.run.submit(false)
    }

    /// Milliseconds of the device, once for each of `runs`.
    ///
    /// # Errors
    /// As [`Executable::time`].
    pub fn time(&self, runs: usize) -> Result<Vec<f64>> {
        self.run.time(runs)
    }
}

impl Language {
    /// How this model's constants are made anew of `states`, f32 in the weights' shapes; `None` where one of them can
    /// only be made on the host. `known`, one made before, serves as long as no constant has been added.
    ///
    /// # Errors
    /// What loading returns.
    pub fn renewal(&self, states: &Store, known: Option<Renewal>) -> Result<Option<Renewal>> {
        let constants = self.sequence().constants();
        let count = constants.len();
        if let Some(known) = known.filter(|k| k.constants == count) {
            return Ok(Some(known));
        }
        let caps = self.device().caps();
        let Some(plan) = Writer::new(states, caps).plan(&constants) else {
            return Ok(None);
        };
        let store = states.with_constants_of(&self.sequence());
        let none = |source: &crate::graph::Source| -> Result<Vec<f32>> {
            Err(Error::Plan(format!("`{}` is no state", source.name)))
        };
        let run = Executable::load_in(&store, Arc::new(plan), &none)?;
        Ok(Some(Renewal {
            run,
            constants: count,
        }))
    }
}

/// Writes the plan.
struct Writer<'a> {
    states: &'a Store,
    caps: &'a Caps,
    plan: Plan,
    known: HashMap<String, Arg>,
}

impl<'a> Writer<'a> {
    fn new(states: &'a Store, caps: &'a Caps) -> Self {
        Self {
            states,
            caps,
            plan: Plan {
                dtype: DType::F32,
                steps: Vec::new(),
                buffers: Vec::new(),
                slots: Vec::new(),
                inputs: Vec::new(),
                outputs: Vec::new(),
            },
            known: HashMap::new(),
        }
    }

    /// `None` where a constant of a trained weight cannot be written.
    fn plan(mut self, constants: &[(Vec<Pack>, Encode)]) -> Option<Plan> {
        let names = |format: Format| Packing::of(format).names;
        for (packs, encode) in constants {
            let trained = |p: &Pack| self.states.kind(&p.weight.name).is_ok();
            // Such as T5's bias by distance, made of a table that is trained.
            let made_of = |p: &Pack| {
                let mut sources = p.weight.sources.iter();
                sources.any(|s| self.states.kind(&s.name).is_ok())
            };
            match packs.iter().filter(|p| trained(p)).count() {
                0 if packs.iter().any(made_of) => return None,
                0 => continue,
                n if n < packs.len() => return None,
                _ => {}
            }
            match *encode {
                Encode::Dense(DType::F32) => self.dense(packs)?,
                Encode::Dense(_) => return None,
                // Written with what they scale.
                Encode::By { name, .. } if name == names(Format::Q8_0)[1] => {}
                Encode::By { name, shape, .. } => {
                    let [pack] = &packs[..] else {
                        return None;
                    };
                    let x = self.state(pack, shape)?;
                    let w = self.constant(packs, *encode);
                    let halves = name == names(Format::F16)[0];
                    let d = if halves || name == names(Format::F32)[0] {
                        repack::dispatch(shape, halves, repack::Binds { x, w }, self.caps)
                    } else if name == names(Format::Q8_0)[0] {
                        let of = |e: &Encode| match e {
                            Encode::By { name, .. } => *name == names(Format::Q8_0)[1],
                            Encode::Dense(_) => false,
                        };
                        let (_, scales) = (constants.iter()).find(|(p, e)| p == packs && of(e))?;
                        let scales = self.constant(packs, *scales);
                        let binds = repack_q8_0::Binds { x, w, scales };
                        repack_q8_0::dispatch(shape, binds, self.caps)
                    } else {
                        return None;
                    };
                    self.push(d, &pack.weight.name);
                }
            }
        }
        Some(self.plan)
    }

    /// Values one after the other.
    fn dense(&mut self, packs: &[Pack]) -> Option<()> {
        let y = self.constant(packs, Encode::Dense(DType::F32));
        let mut at = 0;
        for pack in packs {
            let n = pack.layout.len();
            let x = self.state(pack, [1, n])?;
            let from = Layout::contiguous(&[1, 1, 1, n]);
            let to = Layout {
                offset: at,
                ..from.clone()
            };
            let binds = copy::Binds { x, y };
            let d = copy::dispatch(DType::F32, &from, &to, binds, self.caps);
            self.push(d, &pack.weight.name);
            at += pack.len();
        }
        Some(())
    }

    /// The state of all of a weight of `shape`; `None` where `pack` is something else of it.
    fn state(&mut self, pack: &Pack, shape: [usize; 2]) -> Option<Arg> {
        let name = &pack.weight.name;
        let (dtype, len) = self.states.kind(name).ok()?;
        let whole = pack.layout.is_contiguous() && pack.layout.offset == 0;
        let same = len == shape[0] * shape[1] && len == pack.layout.len();
        // Zeros behind a row would stand between rows.
        let in_order = pack.padded == pack.layout.shape || pack.layout.shape.len() == 1;
        if dtype != DType::F32 || !whole || !same || !in_order {
            return None;
        }
        if let Some(&known) = self.known.get(name) {
            return Some(known);
        }
        let arg = self.buffer(Role::State(name.clone()), dtype, len);
        self.known.insert(name.clone(), arg);
        Some(arg)
    }

    fn constant(&mut self, packs: &[Pack], encode: Encode) -> Arg {
        let (dtype, len) = match encode {
            Encode::Dense(dtype) => (dtype, packs.iter().map(Pack::len).sum()),
            Encode::By { words, .. } => (DType::U32, words),
        };
        self.buffer(Role::Constant(packs.to_vec(), encode), dtype, len)
    }

    fn buffer(&mut self, role: Role, dtype: DType, len: usize) -> Arg {
        self.plan.buffers.push(Buffer { role, dtype, len });
        Arg(self.plan.buffers.len() - 1)
    }

    fn push(&mut self, dispatch: Dispatch, scope: &str) {
        self.plan.steps.push(Step {
            dispatch,
            op: "renew",
            scope: scope.into(),
        });
    }
}
