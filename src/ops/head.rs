//! The classifier: mean over the map, then linear (its batch norm folded in), as one product.

use super::linear::{Fused, push_product};
use crate::error::Result;
use crate::graph::{Lower, Op, Value, Weight};
use crate::kernels::matmul::Load;

/// logits = mean over pixels of x · weightᵀ + bias.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub weight: &'a Weight,
    pub bias: &'a Weight,
}

impl Head<'_> {
    /// [batch, h, w, c] → [batch, classes].
    #[track_caller]
    pub fn apply<'g>(&self, x: Value<'g>) -> Value<'g> {
        let g = x.graph();
        let inputs = [x, g.weight(self.weight), g.weight(self.bias)];
        g.fused(MeanLinear, &inputs, || {
            x.mean_pixels().linear(self.weight, self.bias)
        })
    }
}

#[derive(Debug)]
struct MeanLinear;

impl Op for MeanLinear {
    fn name(&self) -> &'static str {
        "mean_linear"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        Ok(vec![inputs[0][0], inputs[1][0]])
    }

    fn pads_channels(&self) -> bool {
        true
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let [batch, h, w, c] = super::dims(lower.layout(0))?;
        if !c.is_multiple_of(4) {
            return Ok(false);
        }
        let x = lower.contiguous(0)?;
        let load = Load::Mean {
            positions: h * w,
            over: h * w,
        };
        let w = lower.pack_transposed(1)?;
        push_product(lower, x, load, batch, w, Fused::default())?;
        Ok(true)
    }
}
