//! Makes a plan of a graph: which ops run fused, which elementwise work an op takes with it, and the order.

use super::fuse::uses;
use super::memory::sum_of;
use super::{Buffer, Plan, Port, Role, slots};
use crate::error::{Error, Result};
use crate::graph::{Finished, Id, Kind, Lower, Memory, Op, Operand};
use crate::shader::{Arg, Caps};
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
            more: HashMap::new(),
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
        match self.buffers.iter().max_by_key(|b| b.bytes()) {
            Some(b) if b.bytes() > most => Err(Error::Plan(self.beyond(b, most, "this adapter"))),
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
    pub(super) caps: &'a Caps,
    pub(super) options: &'a Options,
    pub(super) uses: Vec<usize>,
    pub(super) values: HashMap<Id, Operand>,
    /// Sums of buffers that came in parts.
    pub(super) sums: HashMap<Arg, Arg>,
    /// Further results of ops.
    more: HashMap<(Id, usize), Operand>,
    pub(super) plan: Plan,
    /// The op and the scope that dispatches are pushed for.
    pub(super) at: (&'static str, String),
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
            Kind::More(of, which, _) => {
                self.value(*of)?;
                match self.more.get(&(*of, *which)) {
                    Some(operand) => operand.clone(),
                    None => return Err(Error::Plan(format!("value {of} has no result {which}"))),
                }
            }
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
        let shapes: Vec<Vec<usize>> = (operands.iter())
            .map(|o| o.layout().shape.clone())
            .collect();
        let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
        let further: Vec<(Arg, Layout)> = (op.more(&shapes).into_iter())
            .map(|(shape, dtype)| self.buffer(&shape, Role::Slot(usize::MAX), dtype))
            .collect();
        self.at = (op.name(), scope);
        let mut lower = Lower {
            caps: self.caps,
            dtype,
            elem: self.options.dtype,
            weights: self.options.weights,
            inputs: operands,
            output,
            more: further.iter().map(|f| f.0).collect(),
            in_parts: None,
            shape,
            memory: self,
        };
        let lowered = op.lower(&mut lower)?;
        let (arg, parts) = lower.in_parts.unwrap_or((output, 1));
        let operands = std::mem::take(&mut lower.inputs);
        if lowered {
            for (which, (arg, layout)) in further.into_iter().enumerate() {
                let operand = sum_of(arg, &layout);
                self.more.insert((id, which), operand);
            }
        }
        if let (true, Some(i)) = (lowered, op.in_place()) {
            return Ok(Some(operands[i].clone()));
        }
        if lowered {
            return Ok(Some(Operand::Buffer { arg, layout, parts }));
        }
        self.plan.steps.truncate(before.0);
        self.plan.buffers.truncate(before.1);
        self.sums.retain(|_, sum| sum.0 < before.1);
        Ok(None)
    }

    pub(super) fn buffer(&mut self, shape: &[usize], role: Role, dtype: DType) -> (Arg, Layout) {
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
