//! RMS norm with a gain that is trained, and its gradients.

use crate::error::Result;
use crate::graph::{Lower, Op, Value};
use crate::kernels::norm::rms_norm_bwd::{self, Binds};
use crate::kernels::reduce::columns;
use crate::tensor::DType;

/// Inputs: x, gain, the gradient of norm(x). Results: the gradients of x and of the gain.
#[derive(Debug)]
struct RmsNormBack {
    eps: f32,
}

/// The gradients of x and of `gain`, given that of the norm of x.
#[track_caller]
pub fn back<'g>(x: Value<'g>, gain: Value<'g>, dy: Value<'g>, eps: f32) -> Vec<Value<'g>> {
    x.graph().apply_more(RmsNormBack { eps }, &[x, gain, dy])
}

impl Op for RmsNormBack {
    fn name(&self) -> &'static str {
        "rms_norm_back"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match inputs[0] == inputs[2] {
            true => Ok(inputs[0].to_vec()),
            false => Err(format!("input {:?}, gradient {:?}", inputs[0], inputs[2])),
        }
    }

    fn more(&self, inputs: &[&[usize]]) -> Vec<(Vec<usize>, DType)> {
        vec![(inputs[1].to_vec(), DType::F32)]
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let cols = lower.shape_of(1, 0);
        let rows = lower.layout(0).len() / cols;
        let parts = rms_norm_bwd::parts(rows, lower.caps);
        let of_gain = lower.memory.scratch_as(DType::F32, parts * cols);
        let binds = Binds {
            x: lower.contiguous(0)?,
            g: lower.contiguous(1)?,
            dy: lower.contiguous(2)?,
            dx: lower.output,
            parts: of_gain,
        };
        let d = rms_norm_bwd::dispatch([rows, cols], self.eps, binds, lower.caps);
        lower.memory.push(d);
        let binds = columns::Binds {
            x: of_gain,
            y: lower.more[0],
        };
        let d = columns::dispatch([parts, cols], 1.0, false, binds, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}
