//! Overlapping patch embedding: four convolutions of stride 2, the first two fused so that the largest tensor
//! of the model never reaches memory.

use crate::error::Result;
use crate::graph::{Lower, Op, Value};
use crate::kernels::conv::stem::{self, Binds};
use crate::ops::Conv;

/// Four 3×3 convolutions of stride 2, ReLU between them.
#[derive(Clone, Debug)]
pub struct Stem {
    pub convs: [Conv; 4],
}

impl Stem {
    /// [batch, h, w, 3] → [batch, h / 16, w / 16, c], sizes rounded up.
    #[track_caller]
    pub fn apply<'g>(&self, images: Value<'g>) -> Value<'g> {
        let g = images.graph();
        let [a, b, c, d] = &self.convs;
        let inputs = [
            images,
            g.weight(&a.weight),
            g.weight(&a.bias),
            g.weight(&b.weight),
            g.weight(&b.bias),
        ];
        let x = g.fused(FirstTwo, &inputs, || images.conv2d(a).relu().conv2d(b).relu());
        x.conv2d(c).relu().conv2d(d)
    }
}

/// relu(conv(relu(conv(x)))). Inputs: images as a view of [batch, 3, h, w], then weight and bias of both.
#[derive(Debug)]
struct FirstTwo;

impl Op for FirstTwo {
    fn name(&self) -> &'static str {
        "stem"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let half = |n: usize| n.div_ceil(2);
        match inputs[0] {
            [batch, h, w, 3] => Ok(vec![*batch, half(half(*h)), half(half(*w)), inputs[3][0]]),
            other => Err(format!("images [batch, height, width, 3], not {other:?}")),
        }
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let [batch, h, w, channels] = super::dims(lower.layout(0))?;
        let planes = lower.layout(0).permute(&[0, 3, 1, 2])?;
        let (middle, out) = (lower.layout(1).shape[0], lower.layout(3).shape[0]);
        let dense = planes.is_contiguous() && planes.offset == 0 && channels == 3;
        let shape = stem::Stem {
            batch,
            h,
            w,
            mid: middle,
            out,
        };
        let tile = stem::choose(&shape, lower.dtype, lower.caps);
        let Some(tile) = tile.filter(|_| dense) else {
            return Ok(false);
        };
        // [out, in, ky, kx] → [ky, kx, in, out].
        let taps = |l: &crate::tensor::Layout| l.permute(&[2, 3, 1, 0]).ok();
        let weights = [lower.pack(1, taps)?, lower.pack_plain(2)?, lower.pack(3, taps)?, lower.pack_plain(4)?];
        let [w1, b1, w2, b2] = weights.map(|pack| lower.memory.constant(vec![pack]));
        let (x, _) = lower.strided(0);
        let binds = Binds { x, w1, b1, w2, b2, y: lower.output };
        let d = stem::dispatch(&shape, lower.dtype, tile, binds, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}
