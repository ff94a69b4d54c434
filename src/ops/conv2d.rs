//! 2-D convolution of channels-last maps, with bias.

use super::linear::{Fused, push_product, rows};
use crate::error::{Error, Result};
use crate::graph::{Activation, Epilogue, Lower, Op, Value, Weight};
use crate::kernels::conv::{Filter, depthwise, direct};
use crate::kernels::matmul::Load;
use crate::tensor::Layout;
use std::sync::Arc;

/// A convolution with its batch norm folded in: weight [out, in / groups, side, side] and bias [out].
#[derive(Clone, Debug)]
pub struct Conv {
    pub weight: Weight,
    pub bias: Weight,
    pub stride: usize,
    pub padding: usize,
    pub groups: usize,
}

#[derive(Clone, Debug)]
struct Conv2d {
    stride: usize,
    padding: usize,
    groups: usize,
    epilogue: Fused,
}

impl Conv2d {
    fn out(&self, n: usize, side: usize) -> Option<usize> {
        Some((n + 2 * self.padding).checked_sub(side)? / self.stride + 1)
    }

    fn filter(&self, side: usize) -> Filter {
        Filter {
            side,
            stride: self.stride,
            pad: self.padding,
            relu: self.epilogue.activation.is_some(),
        }
    }

    /// By the kernels that take any layout: depthwise, or one output at a time.
    fn lower_plain(&self, lower: &mut Lower<'_>, w: &[usize]) -> Result<bool> {
        let [out, per_group, side, other] = [w[0], w[1], w[2], w[3]];
        let depthwise_like = self.groups == out && per_group == 1;
        if side != other || !(depthwise_like || self.groups == 1) {
            return Err(Error::Plan(format!(
                "conv2d with weight {w:?} and {} groups has no kernel",
                self.groups
            )));
        }
        if self.epilogue.residual || self.epilogue.activation == Some(Activation::Sigmoid) {
            return Ok(false);
        }
        let filter = self.filter(side);
        let taps = lower.pack(1, |l| l.permute(&[2, 3, 1, 0]).ok())?;
        let weight = lower.memory.constant(vec![taps]);
        let bias = lower.pack_plain(2)?;
        let bias = lower.memory.constant(vec![bias]);
        let (x, layout) = lower.strided(0)?;
        let y = lower.output;
        let d = if depthwise_like {
            let (x, layout) = match layout.strides[3] {
                1 => (x, layout),
                _ => (lower.contiguous(0)?, Layout::contiguous(&layout.shape)),
            };
            let binds = depthwise::Binds { x, weight, bias, y };
            depthwise::dispatch(filter, &layout, lower.dtype, binds, lower.caps)
        } else {
            let binds = direct::Binds { x, weight, bias, y };
            direct::dispatch(filter, &layout, out, lower.dtype, binds, lower.caps)
        };
        lower.memory.push(d);
        Ok(true)
    }
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let (x, w) = (inputs[0], inputs[1]);
        let what = || {
            format!(
                "input {x:?}, weight {w:?}, groups {}, bias {:?}",
                self.groups, inputs[2]
            )
        };
        if x.len() != 4 || w.len() != 4 || x[3] != w[1] * self.groups || inputs[2] != [w[0]] {
            return Err(what());
        }
        let (h, w_out) = (self.out(x[1], w[2]), self.out(x[2], w[3]));
        let (h, w_out) = h.zip(w_out).ok_or_else(what)?;
        Ok(vec![x[0], h, w_out, w[0]])
    }

    fn macs(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        let w = inputs[1];
        (output.iter().product::<usize>() * w[1] * w[2] * w[3]) as u64
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let w = lower.layout(1).shape.clone();
        let x = lower.layout(0).clone();
        let m = lower.shape[..3].iter().product();
        if self.groups == 1 && w[0].is_multiple_of(4) && w[1].is_multiple_of(4) {
            if w[2..] == [1, 1] && self.stride == 1 && self.padding == 0 {
                let (x, load) = rows(lower)?;
                let w = lower.pack_transposed(1)?;
                push_product(lower, x, load, m, w, self.epilogue)?;
                return Ok(true);
            }
            if x.is_contiguous() && x.offset == 0 && w[2] == w[3] {
                let load = Load::Im2col {
                    map: [x.shape[1], x.shape[2]],
                    out: [lower.shape[1], lower.shape[2]],
                    channels: w[1],
                    side: w[2],
                    stride: self.stride,
                    pad: self.padding,
                };
                let (arg, _) = lower.strided(0)?;
                // Patches run over (ky, kx, channel); the weight's own order is (out, channel, ky, kx).
                let w = lower.pack(1, |l| l.permute(&[2, 3, 1, 0]).ok())?;
                push_product(lower, arg, load, m, w, self.epilogue)?;
                return Ok(true);
            }
        }
        self.lower_plain(lower, &w)
    }

    fn with_epilogue(&self, epilogue: Epilogue) -> Option<Arc<dyn Op>> {
        let fits = match epilogue {
            Epilogue::Activation(a) => a == Activation::Relu || self.groups == 1,
            Epilogue::Residual => self.groups == 1,
            Epilogue::Gated(_) => false,
        };
        let epilogue = fits.then(|| self.epilogue.with(epilogue))??;
        Some(Arc::new(Self {
            epilogue,
            ..self.clone()
        }))
    }
}

impl<'g> Value<'g> {
    /// `conv` of a map: [batch, h, w, in] → [batch, h', w', out].
    #[track_caller]
    pub fn conv2d(self, conv: &Conv) -> Self {
        let g = self.graph();
        let op = Conv2d {
            stride: conv.stride,
            padding: conv.padding,
            groups: conv.groups,
            epilogue: Fused::default(),
        };
        g.apply(op, &[self, g.weight(&conv.weight), g.weight(&conv.bias)])
    }
}
