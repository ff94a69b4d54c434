//! The sandwich's half: t = x + depthwise(x), y = t + ffn(t), fused into one kernel, or into two products where
//! one workgroup's worth of tokens would leave the adapter idle.

use super::linear::Fused;
use crate::error::Result;
use crate::graph::{Lower, Op, Value};
use crate::kernels::ffn::{
    depthwise_ffn as fused, depthwise_ffn_few as few, depthwise_ffn_matrix as matrix,
};
use crate::kernels::matmul::{Load, Operands, Product, Residual, product};
use crate::ops::Conv;

/// `y = t + project(relu(expand(t)))` with `t = x + depthwise(x)`, all convolutions but the depthwise 1×1.
#[derive(Clone, Debug)]
pub struct DepthwiseFfn {
    pub depthwise: Conv,
    /// The depthwise convolution with the identity of its residual folded into its centre tap.
    pub with_identity: Conv,
    pub expand: Conv,
    pub project: Conv,
}

impl DepthwiseFfn {
    /// [batch, h, w, c] → [batch, h, w, c].
    #[track_caller]
    pub fn apply<'g>(&self, x: Value<'g>) -> Value<'g> {
        let g = x.graph();
        let inputs = [
            x,
            g.weight(&self.with_identity.weight),
            g.weight(&self.with_identity.bias),
            g.weight(&self.expand.weight),
            g.weight(&self.expand.bias),
            g.weight(&self.project.weight),
            g.weight(&self.project.bias),
        ];
        g.fused(FusedDepthwiseFfn, &inputs, || {
            let t = x + x.conv2d(&self.depthwise);
            t + t.conv2d(&self.expand).relu().conv2d(&self.project)
        })
    }
}

/// Inputs: x, depthwise weight and bias, expand weight and bias, project weight and bias.
#[derive(Debug)]
struct FusedDepthwiseFfn;

impl Op for FusedDepthwiseFfn {
    fn name(&self) -> &'static str {
        "depthwise_ffn"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        Ok(inputs[0].to_vec())
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let [batch, h, w, c] = super::dims(lower.layout(0))?;
        let hidden = lower.layout(3).shape[0];
        let tokens = batch * h * w;
        if lower.layout(1).shape[2] != 3 || !c.is_multiple_of(16) {
            return Ok(false);
        }
        let taps = lower.pack(1, |l| l.reshape(&[c, 9])?.permute(&[1, 0]).ok())?;
        let depthwise = vec![taps, lower.pack_plain(2)?];
        let aux = lower.memory.constant(depthwise);
        let (w1, b1) = (lower.pack_transposed(3)?, lower.pack_plain(4)?);
        let (w2, b2) = (lower.pack_transposed(5)?, lower.pack_plain(6)?);
        let (mut x, parts) = lower.parts(0)?;
        let mut f = fused::Ffn {
            tokens,
            map: [h, w],
            c,
            hidden,
            parts,
        };
        if let Some(tile) = matrix::choose(&f, lower.dtype, lower.caps) {
            let blocks = vec![lower.pack_blocks(3)?, lower.pack_blocks(5)?];
            let binds = matrix::Binds {
                x,
                taps: aux,
                w: lower.memory.constant(blocks),
                bias: lower.memory.constant(vec![b1, b2]),
                y: lower.output,
            };
            let d = matrix::dispatch(&f, tile, binds, lower.caps);
            lower.memory.push(d);
            return Ok(true);
        }
        if let Some(tile) = few::choose(&f, lower.dtype, lower.caps) {
            let y = match tile.slices {
                1 => lower.output,
                n => {
                    let parts = lower.memory.scratch(n * tokens * c);
                    lower.in_parts = Some((parts, n));
                    parts
                }
            };
            let blocks = vec![lower.pack_blocks(3)?, lower.pack_blocks(5)?];
            let binds = few::Binds {
                x,
                taps: aux,
                w: lower.memory.constant(blocks),
                bias: lower.memory.constant(vec![b1, b2]),
                y,
            };
            let d = few::dispatch(&f, tile, binds, lower.caps);
            lower.memory.push(d);
            return Ok(true);
        }
        let mut tile = fused::choose(&f, lower.dtype, lower.caps);
        if tile.is_none() && parts > 1 {
            x = lower.contiguous(0)?;
            f.parts = 1;
            tile = fused::choose(&f, lower.dtype, lower.caps);
        }
        if let Some(tile) = tile {
            let y = match tile.slices {
                1 => lower.output,
                n => {
                    let parts = lower.memory.scratch(n * tokens * c);
                    lower.in_parts = Some((parts, n));
                    parts
                }
            };
            let binds = fused::Binds {
                x,
                taps: aux,
                w: lower.memory.constant(vec![w1, w2]),
                bias: lower.memory.constant(vec![b1, b2]),
                y,
            };
            let d = fused::dispatch(&f, lower.dtype, tile, binds, lower.caps);
            lower.memory.push(d);
            return Ok(true);
        }
        let inner = lower.memory.scratch(tokens * hidden);
        let first = Product {
            m: tokens,
            n: hidden,
            k: c,
            load: Load::Depthwise { map: [h, w] },
            residual: Residual::None,
            activation: "relu",
        };
        let second = Product {
            m: tokens,
            n: c,
            k: hidden,
            load: Load::Rows {
                stride: hidden,
                offset: 0,
            },
            residual: Residual::Depthwise { map: [h, w] },
            activation: Fused::default().activation(),
        };
        let at = Operands {
            x,
            aux: Some(aux),
            w: lower.memory.constant(vec![w1]),
            bias: lower.memory.constant(vec![b1]),
            r: None,
            y: inner,
        };
        let d = product(&first, lower.dtype, at, lower.caps);
        lower.memory.push(d);
        let at = Operands {
            x: inner,
            aux: Some(aux),
            w: lower.memory.constant(vec![w2]),
            bias: lower.memory.constant(vec![b2]),
            r: Some(x),
            y: lower.output,
        };
        let d = product(&second, lower.dtype, at, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}
