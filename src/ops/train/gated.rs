//! The gradient of a gate: of each pair of neighbours (a, b), act(a) · b.

use crate::error::{Error, Result};
use crate::graph::{Activation, Lower, Op, Value};
use crate::kernels::elementwise::gated_bwd::{self, Binds};

/// Inputs: the pairs, the gradient of what the gate made of them.
#[derive(Debug)]
struct GatedBack(Activation);

/// The gradient of the pairs `x`, given that of their gate.
#[track_caller]
pub fn back<'g>(act: Activation, x: Value<'g>, dy: Value<'g>) -> Value<'g> {
    x.graph().apply(GatedBack(act), &[x, dy])
}

impl Op for GatedBack {
    fn name(&self) -> &'static str {
        "gated_back"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        Ok(inputs[0].to_vec())
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let len = lower.layout(1).len();
        let len = u32::try_from(len).map_err(|_| Error::Plan("too many pairs".into()))?;
        let binds = Binds {
            x: lower.contiguous(0)?,
            dy: lower.contiguous(1)?,
            dx: lower.output,
        };
        let d = gated_bwd::dispatch(len, self.0.name(), binds, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}
