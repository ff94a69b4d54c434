//! The gradient of an activation of its own.

use crate::error::{Error, Result};
use crate::graph::{Activation, Lower, Op, Value};
use crate::kernels::elementwise::unary_bwd::{self, Binds};

/// Inputs: x, the gradient of what the activation made of it.
#[derive(Debug)]
struct UnaryBack(Activation);

/// The gradient of `x`, given that of its activation: relu, silu or gelu.
#[track_caller]
pub fn back<'g>(act: Activation, x: Value<'g>, dy: Value<'g>) -> Value<'g> {
    x.graph().apply(UnaryBack(act), &[x, dy])
}

impl Op for UnaryBack {
    fn name(&self) -> &'static str {
        "unary_back"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        Ok(inputs[0].to_vec())
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let len = lower.layout(0).len();
        let len = u32::try_from(len).map_err(|_| Error::Plan("too many elements".into()))?;
        let binds = Binds {
            x: lower.contiguous(0)?,
            dy: lower.contiguous(1)?,
            dx: lower.output,
        };
        let d = unary_bwd::dispatch(len, self.0.name(), binds, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}
