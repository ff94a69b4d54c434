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

    /// That it is beyond the `most` bytes that `who` binds at once, and what to do.
    pub(crate) fn beyond(&self, most: u64, who: &str) -> String {
        let (bytes, limit) = (self.bytes(), format!("the {most} that {who} binds at once"));
        match &self.role {
            Role::State(name) => {
                let what = ["cache.", "cross.", "history", "prompt", "keys"];
                let (whose, help) = match what.iter().any(|of| name.starts_with(of)) {
                    true => ("the sequence's", "ask for a shorter context"),
                    false => (
                        "the",
                        "use a smaller batch, shorter sequences, a smaller rank, or fewer rows that are remembered",
                    ),
                };
                format!("{whose} memory `{name}` of {bytes} bytes is beyond {limit}; {help}")
            }
            _ => format!("a tensor of {bytes} bytes is beyond {limit}; use a smaller batch"),
        }
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
