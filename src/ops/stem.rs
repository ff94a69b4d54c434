//! Overlapping patch embedding: four convolutions of stride 2, the first two fused so that the largest tensor
//! of the model never reaches memory.

use crate::error::Result;
use crate::graph::{Lower, Op, Value};
use crate::kernels::conv::{stem, stem_matrix};
use crate::ops::Conv;
use crate::tensor::Layout;

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
        let x = g.fused(FirstTwo, &inputs, || {
            images.conv2d(a).relu().conv2d(b).relu()
        });
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
        if !dense {
            return Ok(false);
        }
        let (x, _) = lower.strided(0)?;
        // [out, in, ky, kx] → [ky, kx, in, out].
        let taps = |l: &Layout| l.permute(&[2, 3, 1, 0]).ok();
        let biases = [lower.pack_plain(2)?, lower.pack_plain(4)?];
        let [b1, b2] = biases.map(|pack| lower.memory.constant(vec![pack]));
        let y = lower.output;
        if let Some(tile) = stem_matrix::choose(&shape, lower.dtype, lower.caps) {
            let (first, [_, depth, _]) = stem_matrix::weight_shapes(&shape);
            let mut w1 = lower.pack(1, taps)?;
            w1.padded = first.to_vec();
            let row = |ky: usize| {
                let mut row = lower.pack(3, |l| taps(l)?.slice(0, ky, 1).ok())?;
                row.tail = (depth - 3 * middle) * out;
                Ok(row)
            };
            let w2 = (0..3).map(row).collect::<Result<Vec<_>>>()?;
            let w1 = lower.memory.constant(vec![w1]);
            let w2 = lower.memory.constant(w2);
            let binds = stem_matrix::Binds {
                x,
                w1,
                b1,
                w2,
                b2,
                y,
            };
            let d = stem_matrix::dispatch(&shape, tile, binds, lower.caps);
            lower.memory.push(d);
            return Ok(true);
        }
        let Some(tile) = stem::choose(&shape, lower.dtype, lower.caps) else {
            return Ok(false);
        };
        let weights = [lower.pack(1, taps)?, lower.pack(3, taps)?];
        let [w1, w2] = weights.map(|pack| lower.memory.constant(vec![pack]));
        let binds = stem::Binds {
            x,
            w1,
            b1,
            w2,
            b2,
            y,
        };
        let d = stem::dispatch(&shape, lower.dtype, tile, binds, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}
