//! Patch merging: an inverted residual of stride 2 with squeeze-excite.

use crate::error::Result;
use crate::graph::{Lower, Op, Value};
use crate::ops::Conv;

/// 1×1 to four times the width, 3×3 depthwise of stride 2, squeeze-excite, 1×1 to the next stage's width.
#[derive(Clone, Debug)]
pub struct Expand {
    pub widen: Conv,
    pub reduce: Conv,
    pub squeeze: Conv,
    pub excite: Conv,
}

impl Expand {
    /// [batch, h, w, c] → [batch, h / 2, w / 2, out], sizes rounded up, `project` being the last 1×1.
    #[track_caller]
    pub fn apply<'g>(&self, x: Value<'g>, project: &Conv) -> Value<'g> {
        let g = x.graph();
        let mut inputs = vec![x];
        for conv in [
            &self.widen,
            &self.reduce,
            &self.squeeze,
            &self.excite,
            project,
        ] {
            inputs.extend([g.weight(&conv.weight), g.weight(&conv.bias)]);
        }
        g.fused(PatchMerging, &inputs, || {
            let x = x.conv2d(&self.widen).relu().conv2d(&self.reduce).relu();
            let (batch, wide) = (x.dim(0), x.dim(3));
            let mean = x.mean_pixels().reshape(&[batch, 1, 1, wide]);
            let gate = mean
                .conv2d(&self.squeeze)
                .relu()
                .conv2d(&self.excite)
                .sigmoid();
            (x * gate).conv2d(project)
        })
    }
}

/// Inputs: x, then weight and bias of widen, reduce, squeeze, excite, project.
#[derive(Debug)]
struct PatchMerging;

impl Op for PatchMerging {
    fn name(&self) -> &'static str {
        "patch_merging"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match inputs[0] {
            [batch, h, w, _] => Ok(vec![*batch, h.div_ceil(2), w.div_ceil(2), inputs[9][0]]),
            other => Err(format!(
                "a map [batch, height, width, channels], not {other:?}"
            )),
        }
    }

    fn lower(&self, _lower: &mut Lower<'_>) -> Result<bool> {
        Ok(false)
    }
}
