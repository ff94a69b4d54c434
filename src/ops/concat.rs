//! Values one after the other along the last dimension: a copy for each, as eager frameworks do it.

use crate::error::Result;
use crate::graph::{Backward, Lower, Op, Value};
use crate::kernels::elementwise::copy::{self, Binds};
use crate::tensor::Layout;

#[derive(Debug)]
struct Concat;

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let lead = |s: &[usize]| s.split_last().map(|(_, lead)| lead.to_vec());
        if inputs
            .iter()
            .any(|s| lead(s) != lead(inputs[0]) || s.is_empty())
        {
            return Err(format!(
                "shapes {inputs:?} differ before the last dimension"
            ));
        }
        let mut out = inputs[0].to_vec();
        if let Some(last) = out.last_mut() {
            *last = inputs.iter().filter_map(|s| s.last()).sum();
        }
        Ok(out)
    }

    fn vjp<'g>(&self, at: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let axis = at.grad.shape().len() - 1;
        let mut start = 0;
        let piece = |input: &Value<'g>| {
            let len = input.dim(-1);
            start += len;
            Some(at.grad.slice(axis, start - len, len))
        };
        Some(at.inputs.iter().map(piece).collect())
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let whole = Layout::contiguous(&lower.shape);
        let axis = lower.shape.len() - 1;
        let mut start = 0;
        for i in 0..lower.inputs.len() {
            let (x, layout) = lower.strided(i)?;
            let len = layout.shape[axis];
            let part = whole.slice(axis, start, len)?.four()?;
            start += len;
            let binds = Binds { x, y: lower.output };
            let d = copy::dispatch(lower.dtype, &layout.four()?, &part, binds, lower.caps);
            lower.memory.push(d);
        }
        Ok(true)
    }
}

impl<'g> Value<'g> {
    /// `self` and then `others`, along the last dimension.
    #[track_caller]
    pub fn concat(self, others: &[Value<'g>]) -> Self {
        let mut all = vec![self];
        all.extend(others);
        self.graph().apply(Concat, &all)
    }
}
