//! Softmax over the last dimension.

use crate::error::Result;
use crate::graph::{Backward, Lower, Op, Value};
use crate::kernels::reduce::softmax::{self, Binds};

#[derive(Debug)]
struct Softmax;

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match inputs[0] {
            [] => Err("a value of at least one dimension".into()),
            shape => Ok(shape.to_vec()),
        }
    }

    fn vjp<'g>(&self, at: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        // y · (dy - Σ dy · y)
        let (y, dy) = (at.output, at.grad);
        let axis = y.shape().len() - 1;
        let inner = (dy * y).sum(axis).times(-1.0);
        Some(vec![Some(y * (dy + inner))])
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let x = lower.contiguous(0)?;
        let columns = lower.shape[lower.shape.len() - 1];
        let rows = lower.shape.iter().product::<usize>() / columns;
        let binds = Binds {
            x,
            bias: x,
            y: lower.output,
        };
        let d = softmax::dispatch([rows, columns], None, lower.dtype, binds, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}

impl<'g> Value<'g> {
    /// exp(x) / Σ exp(x) over the last dimension.
    #[track_caller]
    pub fn softmax(self) -> Self {
        self.graph().apply(Softmax, &[self])
    }
}
