//! Makes a plan of a graph: which ops run fused, which elementwise work an op takes with it, and the order.

use super::fuse::uses;
use super::{Buffer, Plan, Port, Role, Step, slots};
use crate::error::{Error, Result};
use crate::graph::{Encode, Finished, Id, Kind, Lower, Memory, Op, Operand, Pack};
use crate::kernels::elementwise::copy;
use crate::kernels::reduce::mean;
use crate::shader::{Arg, Caps, Dispatch};
use crate::tensor::{DType, Format, Layout};
use std::collections::HashMap;
use std::sync::Arc;

/// How a plan is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// The element type of activations and constants: `F32` or `F16`.
    pub dtype: DType,
    /// How the matrices of language models are stored.
    pub weights: Format,
    /// Fuse what can be fused. Without, every op is a dispatch of its own, as an eager framework runs it.
    pub fuse: bool,
}

impl Options {
    /// A fused plan of `dtype`, weights included.
    pub fn new(dtype: DType) -> Self {
        Self {
            dtype,
            weights: match dtype {
                DType::F16 => Format::F16,
                _ => Format::F32,
            },
            fuse: true,
        }
    }
}

impl Plan {
    /// The plan of `graph` for an adapter with `caps`.
    ///
    /// # Errors
    /// [`Error::Plan`] where the adapter cannot run it at all: no f16, or a tensor beyond its limits.
    pub fn new(graph: &Finished, caps: &Caps, options: &Options) -> Result<Self> {
        if options.dtype == DType::F16 && !caps.f16 {
            return Err(Error::Plan(
                "this adapter has no f16; use --dtype f32".into(),
            ));
        }
        let mut builder = Builder {
            graph,
            caps,
            options,
            uses: uses(graph),
            values: HashMap::new(),
            sums: HashMap::new(),
            plan: Plan {
                dtype: options.dtype,
                steps: Vec::new(),
                buffers: Vec::new(),
                slots: Vec::new(),
                inputs: Vec::new(),
                outputs: Vec::new(),
            },
            at: ("", String::new()),
        };
        // Inputs first, so that their order is the model's.
        for id in 0..graph.nodes.len() {
            if matches!(graph.nodes[id].kind, Kind::Input(_)) {
                builder.value(id)?;
            }
        }
        for (name, id) in &graph.outputs {
            let operand = builder.value(*id)?;
            builder.output(name, &operand)?;
        }
        let mut plan = builder.plan;
        plan.slots = slots::assign(&mut plan.buffers, &plan.steps, &plan.outputs);
        plan.fits(caps)?;
        Ok(plan)
    }

    /// Whether every tensor can be bound at once.
    fn fits(&self, caps: &Caps) -> Result<()> {
        let most = caps.max_binding_bytes.min(caps.max_buffer_bytes);
        match self.buffers.iter().map(Buffer::bytes).max() {
            Some(bytes) if bytes > most => Err(Error::Plan(format!(
                "a tensor of {bytes} bytes is beyond the {most} that this adapter binds at once; use a \
                 smaller batch"
            ))),
            _ => Ok(()),
        }
    }
}

/// The shape in which `op` lays out its result of `shape`.
fn padded(op: &dyn Op, shape: &[usize]) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if let Some(last) = shape.last_mut().filter(|_| op.pads_channels()) {
        *last = last.next_multiple_of(4);
    }
    shape
}

pub(super) struct Builder<'a> {
    pub(super) graph: &'a Finished,
    caps: &'a Caps,
    options: &'a Options,
    pub(super) uses: Vec<usize>,
    pub(super) values: HashMap<Id, Operand>,
    /// Sums of buffers that came in parts.
    sums: HashMap<Arg, Arg>,
    plan: Plan,
    /// The op and the scope that dispatches are pushed for.
    at: (&'static str, String),
}

impl Builder<'_> {
    /// The operand that holds value `id`, computed where it is not yet.
    fn value(&mut self, id: Id) -> Result<Operand> {
        if let Some(known) = self.values.get(&id) {
            return Ok(known.clone());
        }
        let graph = self.graph;
        let node = &graph.nodes[id];
        let operand = match &node.kind {
            Kind::Input(name) => {
                let (arg, layout) = self.buffer(&node.shape, Role::Input, self.options.dtype);
                self.plan.inputs.push(Port {
                    name: name.clone(),
                    buffer: arg.0,
                    layout: layout.clone(),
                });
                Operand::Buffer {
                    arg,
                    layout,
                    parts: 1,
                }
            }
            Kind::Weight(weight) => Operand::Weight {
                weight: weight.clone(),
                layout: Layout::contiguous(&weight.shape),
            },
            Kind::State(name, dtype) => {
                let role = Role::State(name.clone());
                let (arg, layout) = self.buffer(&node.shape, role, *dtype);
                Operand::Buffer {
                    arg,
                    layout,
                    parts: 1,
                }
            }
            Kind::View(of, view) => {
                let operand = self.value(*of)?;
                match view.of(operand.layout()) {
                    Some(layout) => operand.seen_as(layout),
                    None => {
                        self.at = ("copy", node.scope.clone());
                        let shape = operand.layout().shape.clone();
                        let arg = self.contiguous(&operand)?;
                        let layout = view.of(&Layout::contiguous(&shape)).ok_or_else(|| {
                            Error::Plan(format!("{view:?} of {shape:?} is no view"))
                        })?;
                        Operand::Buffer {
                            arg,
                            layout,
                            parts: 1,
                        }
                    }
                }
            }
            Kind::Op(op, inputs) => self.op(id, op, inputs)?,
            Kind::Fused {
                op,
                inputs,
                plain,
                region,
            } => {
                let looked_into = (graph.outputs.iter()).any(|(_, o)| region.contains(o));
                let fused = if self.options.fuse && !looked_into {
                    self.lower(op.as_ref(), inputs, &[], id)?
                } else {
                    None
                };
                match fused {
                    Some(operand) => operand,
                    None => self.value(*plain)?,
                }
            }
        };
        self.values.insert(id, operand.clone());
        Ok(operand)
    }

    /// Computes an op, together with an op that it is elementwise work on, where that one can take it.
    fn op(&mut self, id: Id, op: &Arc<dyn Op>, inputs: &[Id]) -> Result<Operand> {
        if self.options.fuse {
            for (host, host_inputs, extra) in self.hosts(op, inputs) {
                if let Some(operand) = self.lower(host.as_ref(), &host_inputs, &extra, id)? {
                    return Ok(operand);
                }
            }
        }
        match self.lower(op.as_ref(), inputs, &[], id)? {
            Some(operand) => Ok(operand),
            None => Err(Error::Plan(format!(
                "{} has no kernel for this adapter",
                op.name()
            ))),
        }
    }

    fn lower(
        &mut self,
        op: &dyn Op,
        inputs: &[Id],
        extra: &[Id],
        id: Id,
    ) -> Result<Option<Operand>> {
        let mut operands = Vec::with_capacity(inputs.len() + extra.len());
        for &i in extra.iter().chain(inputs) {
            operands.push(self.value(i)?);
        }
        operands.rotate_left(extra.len());
        let node = &self.graph.nodes[id];
        let scope = node.scope.clone();
        let shape = node.shape.clone();
        let before = (self.plan.steps.len(), self.plan.buffers.len());
        let first = operands.iter().find_map(|o| match o {
            Operand::Buffer { arg, .. } => Some(self.plan.buffers[arg.0].dtype),
            Operand::Weight { .. } => None,
        });
        let dtype = (op.dtype().or(first)).unwrap_or(self.options.dtype);
        let (output, layout) = self.buffer(&padded(op, &shape), Role::Slot(usize::MAX), dtype);
        let layout = Layout {
            shape: shape.clone(),
            ..layout
        };
        self.at = (op.name(), scope);
        let mut lower = Lower {
            caps: self.caps,
            dtype,
            elem: self.options.dtype,
            weights: self.options.weights,
            inputs: operands,
            output,
            in_parts: None,
            shape,
            memory: self,
        };
        let lowered = op.lower(&mut lower)?;
        let (arg, parts) = lower.in_parts.unwrap_or((output, 1));
        if let (true, Some(i)) = (lowered, op.in_place()) {
            return Ok(Some(lower.inputs[i].clone()));
        }
        if lowered {
            return Ok(Some(Operand::Buffer { arg, layout, parts }));
        }
        self.plan.steps.truncate(before.0);
        self.plan.buffers.truncate(before.1);
        self.sums.retain(|_, sum| sum.0 < before.1);
        Ok(None)
    }

    fn buffer(&mut self, shape: &[usize], role: Role, dtype: DType) -> (Arg, Layout) {
        let layout = Layout::contiguous(shape);
        self.plan.buffers.push(Buffer {
            role,
            dtype,
            len: layout.len(),
        });
        (Arg(self.plan.buffers.len() - 1), layout)
    }

    fn output(&mut self, name: &str, operand: &Operand) -> Result<()> {
        let in_slot = |b: &Buffer| matches!(b.role, Role::Slot(_) | Role::State(_));
        let (arg, layout) = match &self.whole(operand)? {
            Operand::Buffer { arg, layout, .. } if in_slot(&self.plan.buffers[arg.0]) => {
                (*arg, layout.clone())
            }
            _ => {
                return Err(Error::Plan(format!(
                    "output `{name}` is an input or a weight itself: nothing computes it"
                )));
            }
        };
        self.plan.outputs.push(Port {
            name: name.into(),
            buffer: arg.0,
            layout,
        });
        Ok(())
    }
}

fn sum_of(arg: Arg, layout: &Layout) -> Operand {
    Operand::Buffer {
        arg,
        layout: layout.clone(),
        parts: 1,
    }
}

impl Memory for Builder<'_> {
    fn scratch(&mut self, len: usize) -> Arg {
        self.scratch_as(self.options.dtype, len)
    }

    fn scratch_as(&mut self, dtype: DType, len: usize) -> Arg {
        self.buffer(&[len], Role::Slot(usize::MAX), dtype).0
    }

    fn constant(&mut self, packs: Vec<Pack>) -> Arg {
        self.constant_as(packs, Encode::Dense(self.options.dtype))
    }

    fn constant_as(&mut self, packs: Vec<Pack>, encode: Encode) -> Arg {
        let same =
            |b: &Buffer| matches!(&b.role, Role::Constant(p, e) if *p == packs && *e == encode);
        if let Some(at) = self.plan.buffers.iter().position(same) {
            return Arg(at);
        }
        let (dtype, len) = match encode {
            Encode::Dense(dtype) => (dtype, packs.iter().map(Pack::len).sum()),
            Encode::By { words, .. } => (DType::U32, words),
        };
        self.buffer(&[len], Role::Constant(packs, encode), dtype).0
    }

    fn contiguous(&mut self, operand: &Operand) -> Result<Arg> {
        match self.whole(operand)? {
            Operand::Buffer { arg, layout, .. } if layout.is_contiguous() && layout.offset == 0 => {
                Ok(arg)
            }
            Operand::Buffer { arg, layout, .. } => {
                let dtype = self.plan.buffers[arg.0].dtype;
                let (to, dense) = self.buffer(&layout.shape, Role::Slot(usize::MAX), dtype);
                let (x, y) = (layout.four()?, dense.four()?);
                let binds = copy::Binds { x: arg, y: to };
                let d = copy::dispatch(dtype, &x, &y, binds, self.caps);
                self.push(d);
                Ok(to)
            }
            Operand::Weight { weight, layout } => {
                Ok(self.constant(vec![Pack::new(&weight, &layout)]))
            }
        }
    }

    fn whole(&mut self, operand: &Operand) -> Result<Operand> {
        let (arg, layout, parts) = match operand {
            Operand::Buffer { arg, layout, parts } if *parts > 1 => (*arg, layout, *parts),
            _ => return Ok(operand.clone()),
        };
        if let Some(&sum) = self.sums.get(&arg) {
            return Ok(sum_of(sum, layout));
        }
        let len = self.plan.buffers[arg.0].len / parts;
        let dtype = self.plan.buffers[arg.0].dtype;
        let (sum, _) = self.buffer(&[len], Role::Slot(usize::MAX), dtype);
        let x = Layout::contiguous(&[1, parts, len]);
        let binds = mean::Binds { x: arg, y: sum };
        let d = mean::dispatch(dtype, &x, 1.0, binds, self.caps);
        self.push(d);
        self.sums.insert(arg, sum);
        Ok(sum_of(sum, layout))
    }

    fn push(&mut self, dispatch: Dispatch) {
        self.plan.steps.push(Step {
            dispatch,
            op: self.at.0,
            scope: self.at.1.clone(),
        });
    }
}
