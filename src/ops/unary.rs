//! Elementwise functions of one value.

use super::train::unary_back;
use crate::error::Result;
use crate::graph::{Activation, Backward, Epilogue, Lower, Op, Value};
use crate::kernels::elementwise::unary::{self, Binds};

#[derive(Debug)]
struct Unary(Activation);

impl Op for Unary {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        Ok(inputs[0].to_vec())
    }

    fn vjp<'g>(&self, at: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let (y, dy) = (at.output, at.grad);
        Some(vec![Some(match self.0 {
            // dy · y · (1 - y)
            Activation::Sigmoid => dy * (y + (y * y).times(-1.0)),
            act => unary_back(act, at.inputs[0], dy),
        })])
    }

    fn as_epilogue(&self) -> Option<Epilogue> {
        Some(Epilogue::Activation(self.0))
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let (x, layout) = lower.strided(0)?;
        let binds = Binds { x, y: lower.output };
        let layout = layout.four()?;
        let d = unary::dispatch(self.0.name(), lower.dtype, &layout, binds, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}

impl<'g> Value<'g> {
    /// max(x, 0).
    #[track_caller]
    pub fn relu(self) -> Self {
        self.graph().apply(Unary(Activation::Relu), &[self])
    }

    /// 1 / (1 + exp(-x)).
    #[track_caller]
    pub fn sigmoid(self) -> Self {
        self.graph().apply(Unary(Activation::Sigmoid), &[self])
    }
}
