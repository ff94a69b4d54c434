//! The mean over the pixels of a map.

use crate::error::Result;
use crate::graph::{Lower, Op, Value};
use crate::kernels::reduce::mean::{self, Binds};

#[derive(Debug)]
struct MeanPixels;

impl Op for MeanPixels {
    fn name(&self) -> &'static str {
        "mean"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match inputs[0] {
            [batch, _, _, c] => Ok(vec![*batch, *c]),
            other => Err(format!(
                "a map [batch, height, width, channels], not {other:?}"
            )),
        }
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let [batch, h, w, c] = super::dims(lower.layout(0))?;
        let flat = [batch, h * w, c];
        let (x, layout) = lower.strided(0)?;
        let (x, layout) = match layout.reshape(&flat) {
            Some(l) => (x, l),
            None => (
                lower.contiguous(0)?,
                crate::tensor::Layout::contiguous(&flat),
            ),
        };
        let binds = Binds { x, y: lower.output };
        let d = mean::dispatch(
            lower.dtype,
            &layout,
            1.0 / (h * w) as f32,
            binds,
            lower.caps,
        );
        lower.memory.push(d);
        Ok(true)
    }
}

impl<'g> Value<'g> {
    /// The mean over height and width: [batch, h, w, c] → [batch, c].
    #[track_caller]
    pub fn mean_pixels(self) -> Self {
        self.graph().apply(MeanPixels, &[self])
    }
}
