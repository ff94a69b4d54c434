//! How a graph is computed: a list of dispatches over numbered buffers, and the memory behind them. It is
//! data, made without a GPU, and prints as text.

mod build;
mod case;
mod fuse;
mod memory;
mod slots;
mod text;

pub use crate::graph::{Encode, Pack};
pub use build::Options;

use crate::shader::{Cost, Dispatch};
use crate::tensor::{DType, Layout};

/// What a buffer of a plan holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// Filled by the caller before each run.
    Input,
    /// Filled when the plan is loaded.
    Constant(Vec<Pack>, Encode),
    /// Kept from run to run, by name: shared by the plans of one store.
    State(String),
    /// Written by a dispatch, kept in slot `.0`.
    Slot(usize),
}

/// Storage that dispatches are bound to.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub role: Role,
    pub dtype: DType,
    /// Elements.
    pub len: usize,
}

impl Buffer {
    pub fn bytes(&self) -> u64 {
        (self.len * self.dtype.bytes()) as u64
    }
}

/// An input or an output by name: a view of a buffer.
#[derive(Clone, Debug)]
pub struct Port {
    pub name: String,
    pub buffer: usize,
    pub layout: Layout,
}

/// One dispatch and where in the model it came from.
#[derive(Clone, Debug)]
pub struct Step {
    pub dispatch: Dispatch,
    /// The op it computes (part of) and the model's scope, as in `stages.0.blocks.0`.
    pub op: &'static str,
    pub scope: String,
}

/// A list of dispatches, the buffers they use, the slots behind the buffers.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The element type of activations and constants.
    pub dtype: DType,
    pub steps: Vec<Step>,
    pub buffers: Vec<Buffer>,
    /// Bytes of each slot.
    pub slots: Vec<u64>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
}

impl Plan {
    /// The sum of what its dispatches move and compute.
    pub fn cost(&self) -> Cost {
        (self.steps.iter()).fold(Cost::default(), |a, s| Cost {
            read_bytes: a.read_bytes + s.dispatch.cost.read_bytes,
            write_bytes: a.write_bytes + s.dispatch.cost.write_bytes,
            macs: a.macs + s.dispatch.cost.macs,
        })
    }

    /// That `buffer` is beyond the `most` bytes that `who` binds at once, which tensor it is, and what to do.
    pub(crate) fn beyond(&self, buffer: &Buffer, most: u64, who: &str) -> String {
        let at = self.buffers.iter().position(|b| std::ptr::eq(b, buffer));
        let step = (self.steps.iter()).find(|s| s.dispatch.args.iter().any(|a| Some(a.0) == at));
        let place = match step {
            Some(s) if s.scope.is_empty() => format!(" of `{}`", s.op),
            Some(s) => format!(" of `{}` in `{}`", s.op, s.scope),
            None => String::new(),
        };
        // Pictures alone have four dimensions.
        let alone = (self.inputs.iter()).any(|p| matches!(p.layout.shape[..], [1, _, _, _]));
        let (what, advice) = match &buffer.role {
            Role::State(name) => {
                let sequences = ["cache.", "cross.", "history", "prompt", "keys"];
                match sequences.iter().any(|of| name.starts_with(of)) {
                    true => (
                        format!("the sequence's memory `{name}`"),
                        "ask for a shorter context",
                    ),
                    false => (
                        format!("the memory `{name}`"),
                        "use a smaller batch, shorter sequences, a smaller rank, or fewer rows that are remembered",
                    ),
                }
            }
            Role::Constant(packs, _) => {
                let names: Vec<_> = packs.iter().map(|p| p.weight.name.as_str()).collect();
                let advice = match self.dtype {
                    DType::F16 => "this model wants an adapter that binds more",
                    _ => {
                        "f16 halves it where the adapter has that; else the model wants one that binds more"
                    }
                };
                (format!("the weight `{}`", names.join(" + ")), advice)
            }
            Role::Input if alone => (format!("an input{place}"), "use a smaller input size"),
            Role::Slot(_) if alone => (format!("a tensor{place}"), "use a smaller input size"),
            Role::Input => (format!("an input{place}"), "use a smaller batch"),
            Role::Slot(_) => (format!("a tensor{place}"), "use a smaller batch"),
        };
        let bytes = buffer.bytes();
        format!("{what} has {bytes} bytes, beyond the {most} that {who} binds at once; {advice}")
    }

    /// Bytes of all slots: the peak of what activations take.
    pub fn slot_bytes(&self) -> u64 {
        self.slots.iter().sum()
    }

    /// Bytes of its constants.
    pub fn constant_bytes(&self) -> u64 {
        (self.buffers.iter())
            .filter(|b| matches!(b.role, Role::Constant(..)))
            .map(Buffer::bytes)
            .sum()
    }

    /// Bytes of its states: what is kept from run to run.
    pub fn state_bytes(&self) -> u64 {
        (self.buffers.iter())
            .filter(|b| matches!(b.role, Role::State(_)))
            .map(Buffer::bytes)
            .sum()
    }
}
