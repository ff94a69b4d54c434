//! Patch merging: an inverted residual of stride 2 with squeeze-excite.

use crate::error::Result;
use crate::graph::{Lower, Op, Value};
use crate::kernels::conv::{expand_depthwise, expand_depthwise_few as few};
use crate::kernels::matmul::{Load, Operands, Product, Residual, product};
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

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let [batch, h, w, narrow] = super::dims(lower.layout(0))?;
        let (wide, squeezed, out) = (lower.shape_of(1, 0), lower.shape_of(5, 0), lower.shape[3]);
        let fours = [narrow, wide, squeezed, out]
            .iter()
            .all(|n| n.is_multiple_of(4));
        let e = expand_depthwise::Expand {
            batch,
            map: [h, w],
            k: narrow,
            n: wide,
        };
        if !fours {
            return Ok(false);
        }
        let [oh, ow] = e.out_map();
        let taps = lower.pack(3, |l| l.reshape(&[wide, 9])?.permute(&[1, 0]).ok())?;
        let taps = vec![taps, lower.pack_plain(4)?];
        let d_out = batch * oh * ow * wide;
        // What the first half leaves: its map, and parts of that map's mean.
        let (d, m, parts) = if let Some(tile) = few::choose(&e, lower.dtype, lower.caps) {
            let (x, x_parts) = lower.parts(0)?;
            let blocks = vec![lower.pack_blocks(1)?];
            let bias = vec![lower.pack_plain(2)?];
            let parts = tile.parts(&e);
            let binds = few::Binds {
                x,
                w: lower.memory.constant(blocks),
                b: lower.memory.constant(bias),
                taps: lower.memory.constant(taps),
                d: lower.memory.scratch(d_out),
                m: lower.memory.scratch(batch * parts * wide),
            };
            let d = few::dispatch(&e, x_parts, tile, binds, lower.caps);
            lower.memory.push(d);
            (binds.d, binds.m, parts)
        } else if let Some(tile) = expand_depthwise::choose(&e, lower.dtype, lower.caps) {
            let x = lower.contiguous(0)?;
            let (weight, bias) = lower.product_weights(1)?;
            let parts = tile.parts(&e);
            let binds = expand_depthwise::Binds {
                x,
                w: weight,
                b: bias,
                taps: lower.memory.constant(taps),
                d: lower.memory.scratch(d_out),
                m: lower.memory.scratch(batch * parts * wide),
            };
            let d = expand_depthwise::dispatch(&e, lower.dtype, tile, binds, lower.caps);
            lower.memory.push(d);
            (binds.d, binds.m, parts)
        } else {
            return Ok(false);
        };
        let (squeezed_out, gate) = (
            lower.memory.scratch(batch * squeezed),
            lower.memory.scratch(batch * wide),
        );
        let mean = Load::Mean {
            positions: parts,
            over: 1,
        };
        let rows = Load::Rows {
            stride: squeezed,
            offset: 0,
        };
        let gated = Load::Gated { positions: oh * ow };
        let plain = |m, n, k, load, activation| Product {
            m,
            n,
            k,
            load,
            residual: Residual::None,
            activation,
        };
        let squeeze = plain(batch, squeezed, wide, mean, "relu");
        let excite = plain(batch, wide, squeezed, rows, "sigmoid");
        let project = plain(batch * oh * ow, out, wide, gated, "none");
        for (p, x, aux, weights, y) in [
            (squeeze, m, None, 5, squeezed_out),
            (excite, squeezed_out, None, 7, gate),
            (project, d, Some(gate), 9, lower.output),
        ] {
            let (w, bias) = lower.product_weights(weights)?;
            let at = Operands {
                x,
                aux,
                w,
                bias,
                r: None,
                y,
            };
            let d = product(&p, lower.dtype, at, lower.caps);
            lower.memory.push(d);
        }
        Ok(true)
    }
}
