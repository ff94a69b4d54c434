//! Cascaded group attention (EfficientViT, section 3.2): each head attends over its own split of the channels
//! plus the output of the head before it, inside windows of the map, with a learned bias for each offset.

use crate::error::Result;
use crate::graph::{Lower, Op, Pack, Value, Weight};
use crate::kernels::attention::{
    cascaded_group::{self as fused, Part},
    cascaded_group_matrix as matrix,
};
use crate::kernels::matmul::{Load, Operands, Product, Residual, product, sums_parts};
use crate::ops::Conv;

/// `x + project(relu(heads))`, all heads of a window computed by one kernel.
#[derive(Clone, Debug)]
pub struct CascadedGroup {
    /// The windows' side.
    pub window: usize,
    /// Width of q and of k.
    pub key_dim: usize,
    /// By head: 1×1 from its split to q, k, v.
    pub qkv: Vec<Conv>,
    /// By head: the depthwise convolution on q.
    pub q: Vec<Conv>,
    /// The same with the attention's scale folded in.
    pub q_scaled: Vec<Conv>,
    /// Relative position bias [heads, tokens, tokens].
    pub spread: Weight,
    pub project: Conv,
}

impl CascadedGroup {
    /// [batch, h, w, c] → the same, and each head's attention [batch · windows, tokens, tokens].
    #[track_caller]
    pub fn apply<'g>(&self, x: Value<'g>) -> (Value<'g>, Vec<Value<'g>>) {
        let g = x.graph();
        let mut inputs = vec![x, g.weight(&self.spread)];
        for conv in (self.qkv.iter().zip(&self.q_scaled)).flat_map(|(a, b)| [a, b]) {
            inputs.extend([g.weight(&conv.weight), g.weight(&conv.bias)]);
        }
        inputs.extend([g.weight(&self.project.weight), g.weight(&self.project.bias)]);
        let op = Fused {
            window: self.window,
            kernels: self.q.iter().map(|c| c.weight.shape[2]).collect(),
        };
        let mut attention = Vec::new();
        let y = g.fused(op, &inputs, || x + self.plain(x, &mut attention));
        (y, attention)
    }

    /// As the paper's own code does it, window by window, head by head.
    #[track_caller]
    fn plain<'g>(&self, x: Value<'g>, attention: &mut Vec<Value<'g>>) -> Value<'g> {
        let (g, side, heads) = (x.graph(), self.window, self.qkv.len());
        let tokens = side * side;
        let scale = 1.0 / (self.key_dim as f32).sqrt();
        let windows = x.windows(side);
        let (n, d) = (windows.dim(0), windows.dim(3) / heads);
        let spread = g.weight(&self.spread);
        let mut outputs: Vec<Value<'g>> = Vec::new();
        for (i, split) in windows.chunk(3, heads).into_iter().enumerate() {
            let features = match outputs.last() {
                Some(&previous) => split + previous,
                None => split,
            };
            let qkv = features.conv2d(&self.qkv[i]);
            let [q, k, v] = qkv.split(3, [self.key_dim, self.key_dim, d]);
            let q = q.conv2d(&self.q[i]).reshape(&[n, tokens, self.key_dim]);
            let k = k.reshape(&[n, tokens, self.key_dim]).permute(&[0, 2, 1]);
            let scores = q.matmul(k, scale) + spread.slice(0, i, 1);
            let weights = scores.softmax();
            attention.push(weights);
            let out = weights.matmul(v.reshape(&[n, tokens, d]), 1.0);
            outputs.push(out.reshape(&[n, side, side, d]));
        }
        let all = outputs[0].concat(&outputs[1..]);
        all.relu().conv2d(&self.project).unwindow(x, side)
    }
}

/// Inputs: x, the spread bias, then by head weight and bias of qkv and of the scaled q, then weight and bias of project.
#[derive(Debug)]
struct Fused {
    window: usize,
    kernels: Vec<usize>,
}

impl Op for Fused {
    fn name(&self) -> &'static str {
        "cascaded_group"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        Ok(inputs[0].to_vec())
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let [batch, h, w, c] = super::dims(lower.layout(0))?;
        let (tokens, heads) = (batch * h * w, self.kernels.len());
        let mut kernels = [0; fused::MAX_HEADS];
        if heads > kernels.len() {
            return Ok(false);
        }
        kernels[..heads].copy_from_slice(&self.kernels);
        let (x, parts) = lower.parts(0)?;
        let mut shape = fused::Shape {
            batch,
            h,
            w,
            heads,
            d: c / heads,
            window: self.window,
            kernels,
            parts,
        };
        let units = matrix::choose(lower.caps, lower.dtype, &shape);
        let plain = fused::choose(lower.caps, lower.dtype, &shape);
        let (in_one, tiled) = match (units, plain) {
            (Some(choice), _) => (choice.project, true),
            (None, Some(choice)) => (choice.project, false),
            (None, None) => return Ok(false),
        };
        let packed = fused::packing(&shape, in_one, tiled).map(|parts| {
            parts
                .into_iter()
                .map(|(part, shape)| self.pack(lower, part, &shape, units.is_some()))
                .collect()
        });
        let [weights, biases]: [Result<Vec<Pack>>; 2] = packed;
        let (w, b) = (
            lower.memory.constant(weights?),
            lower.memory.constant(biases?),
        );
        let project = 2 + 4 * heads;
        let mut p = Product {
            m: tokens,
            n: c,
            k: c,
            load: Load::Rows {
                stride: c,
                offset: 0,
            },
            residual: Residual::Parts(parts),
            activation: "none",
        };
        // Not every kernel for the projection takes its residual in parts.
        let mut x = x;
        if !in_one && (parts == 1 || units.is_none() || !sums_parts(&p, lower.dtype, lower.caps)) {
            (shape.parts, x) = (1, lower.contiguous(0)?);
            p.residual = Residual::Rows;
        }
        let y = match in_one {
            true => lower.output,
            false => lower.memory.scratch(tokens * c),
        };
        let d = match (units, plain) {
            (Some(choice), _) => {
                let binds = matrix::Binds { x, w, b, y };
                matrix::dispatch(&choice, &shape, binds, lower.caps)
            }
            (None, Some(choice)) => {
                let binds = fused::Binds { x, w, b, y };
                fused::dispatch(&choice, lower.dtype, &shape, binds, lower.caps)
            }
            (None, None) => return Ok(false),
        };
        lower.memory.push(d);
        if in_one {
            return Ok(true);
        }
        let (w, bias) = lower.product_weights(project)?;
        let at = Operands {
            x: y,
            aux: None,
            w,
            bias,
            r: Some(x),
            y: lower.output,
        };
        let d = product(&p, lower.dtype, at, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}

impl Fused {
    /// A part of the kernel's packed weights, from the op's inputs; matrices in `blocks` for matrix units.
    fn pack(&self, lower: &Lower<'_>, part: Part, shape: &[usize], blocks: bool) -> Result<Pack> {
        let matrix = |i| match blocks {
            true => lower.pack_blocks(i),
            false => lower.pack_transposed(i),
        };
        let heads = self.kernels.len();
        let (qkv, q) = (|i: usize| 2 + 4 * i, |i: usize| 4 + 4 * i);
        let mut pack = match part {
            Part::Qkv(i) => matrix(qkv(i))?,
            Part::QkvBias(i) => lower.pack_plain(qkv(i) + 1)?,
            Part::Depthwise(i) => lower.pack(q(i), |l| l.permute(&[2, 3, 1, 0]).ok())?,
            Part::DepthwiseBias(i) => lower.pack_plain(q(i) + 1)?,
            Part::Bias { head, from } => lower.pack(1, |l| {
                let of_head = l.slice(0, head, 1).ok()?.slice(2, from, shape[1]).ok()?;
                of_head.reshape(shape)
            })?,
            Part::Proj => matrix(2 + 4 * heads)?,
            Part::ProjBias => lower.pack_plain(3 + 4 * heads)?,
        };
        if let Some(last) = pack.padded.last_mut() {
            *last = last.next_multiple_of(4);
        }
        Ok(pack)
    }
}
