//! Cascaded group attention (EfficientViT, section 3.2): each head attends over its own split of the channels
//! plus the output of the head before it, inside windows of the map, with a learned bias for each offset.

use crate::error::Result;
use crate::graph::{Lower, Op, Value, Weight};
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
    /// Relative position bias [heads, window²], by |dy| · window + |dx|.
    pub table: Weight,
    /// The same spread out: [heads, tokens, tokens].
    pub spread: Weight,
    pub project: Conv,
}

impl CascadedGroup {
    /// [batch, h, w, c] → the same, and each head's attention [batch · windows, tokens, tokens].
    #[track_caller]
    pub fn apply<'g>(&self, x: Value<'g>) -> (Value<'g>, Vec<Value<'g>>) {
        let g = x.graph();
        let mut inputs = vec![x, g.weight(&self.table)];
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

/// Inputs: x, table, then by head weight and bias of qkv and of the scaled q, then weight and bias of project.
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

    fn lower(&self, _lower: &mut Lower<'_>) -> Result<bool> {
        let _ = (self.window, &self.kernels);
        Ok(false)
    }
}
