//! Of each pair of neighbours (a, b): act(a) · b. The planner has the projection before it do it.

use super::train::gated_back;
use crate::error::{Error, Result};
use crate::graph::{Activation, Backward, Epilogue, Lower, Op, Value};
use crate::kernels::elementwise::gated::{self, Binds};

#[derive(Debug)]
struct Gated(Activation);

impl Op for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match inputs[0].split_last() {
            Some((last, lead)) if last.is_multiple_of(2) => Ok([lead, &[last / 2]].concat()),
            _ => Err(format!("pairs in the last dimension, not {:?}", inputs[0])),
        }
    }

    fn vjp<'g>(&self, at: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        Some(vec![Some(gated_back(self.0, at.inputs[0], at.grad))])
    }

    fn as_epilogue(&self) -> Option<Epilogue> {
        Some(Epilogue::Gated(self.0))
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let len = lower.layout(0).len() / 2;
        let len = u32::try_from(len).map_err(|_| Error::Plan("too many pairs".into()))?;
        let binds = Binds {
            x: lower.contiguous(0)?,
            y: lower.output,
        };
        let d = gated::dispatch(len, self.0.name(), lower.dtype, binds, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}

impl Value<'_> {
    /// act(a) · b of each pair (a, b) of neighbours in the last dimension.
    #[track_caller]
    pub fn gated(self, act: Activation) -> Self {
        self.graph().apply(Gated(act), &[self])
    }
}
