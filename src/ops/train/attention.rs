//! Causal attention of whole sequences, and its gradient, which computes the scores again: no matrix of them is ever in
//! device memory.

use crate::error::{Error, Result};
use crate::graph::{Backward, Lower, Op, Value, Weight};
use crate::kernels::attention::causal::Shape;
use crate::kernels::attention::{
    causal_bwd_dkv, causal_bwd_dkv_coop, causal_bwd_dq, causal_bwd_dq_coop, causal_fwd,
    causal_fwd_coop, causal_stats, turn,
};
use crate::tensor::{DType, Format};

/// Attention in sequences of `len` rows, one after the other: each row sees those before it in its own, and itself.
#[derive(Clone, Copy, Debug)]
pub struct Causal {
    pub len: usize,
    /// Of the queries.
    pub heads: usize,
    /// A divisor of `heads`.
    pub kv_heads: usize,
    /// A multiple of 4, at most 128.
    pub head_dim: usize,
}

impl Causal {
    /// Attends with queries, keys and values [rows, (heads + 2·kv_heads)·head_dim] side by side, queries and keys turned
    /// by their positions where `rotary` f32 [positions, head_dim / 2, 2] gives the angles' (cos, sin):
    /// [rows, heads·head_dim]. Scores are divided by the root of `head_dim`.
    #[track_caller]
    pub fn apply<'g>(&self, qkv: Value<'g>, rotary: Option<&Weight>) -> Value<'g> {
        let widths = [self.heads, self.kv_heads, self.kv_heads].map(|n| n * self.head_dim);
        let [mut q, mut k, v] = qkv.split(1, widths);
        if let Some(rotary) = rotary {
            q = self.turn(q, self.heads, rotary);
            k = self.turn(k, self.kv_heads, rotary);
        }
        q.graph().apply_more(Attend(*self), &[q, k, v])[0]
    }

    #[track_caller]
    fn turn<'g>(&self, x: Value<'g>, heads: usize, rotary: &Weight) -> Value<'g> {
        let (g, len) = (x.graph(), self.len);
        let op = Turn {
            heads,
            len,
            back: false,
        };
        g.apply(op, &[x, g.weight(rotary)])
    }

    fn shape(&self, rows: usize) -> Shape {
        Shape {
            batch: rows / self.len,
            len: self.len,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: 1.0 / (self.head_dim as f32).sqrt(),
        }
    }
}

/// Inputs: x [rows, heads·head_dim], rotary.
#[derive(Debug)]
struct Turn {
    heads: usize,
    len: usize,
    /// The other way round.
    back: bool,
}

impl Op for Turn {
    fn name(&self) -> &'static str {
        "turn"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match (inputs[0], inputs[1]) {
            (&[rows, width], &[_, half, 2])
                if width == self.heads * 2 * half && rows.is_multiple_of(self.len) =>
            {
                Ok(inputs[0].to_vec())
            }
            (x, rotary) => Err(format!("{} heads in {x:?}, rotary {rotary:?}", self.heads)),
        }
    }

    fn vjp<'g>(&self, at: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let op = Turn {
            back: !self.back,
            ..*self
        };
        let dx = at.graph().apply(op, &[at.grad, at.inputs[1]]);
        Some(vec![Some(dx), None])
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let shape = turn::Shape {
            rows: lower.shape[0],
            len: self.len,
            heads: self.heads,
            head_dim: 2 * lower.shape_of(1, 1),
            positions: lower.shape_of(1, 0),
        };
        let binds = turn::Binds {
            x: lower.contiguous(0)?,
            rotary: lower.contiguous(1)?,
            y: lower.output,
        };
        let d = turn::dispatch(shape, self.back, binds, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}

/// Inputs: q, k, v. Results: o, the logarithms of the scores' sums [sequences, heads, len].
#[derive(Debug)]
struct Attend(Causal);

impl Op for Attend {
    fn name(&self) -> &'static str {
        "causal"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let c = &self.0;
        let [q, kv] = [c.heads, c.kv_heads].map(|n| n * c.head_dim);
        let rows = inputs[0].first().copied().unwrap_or(0);
        let wanted = [[rows, q], [rows, kv], [rows, kv]];
        match wanted.iter().zip(inputs).all(|(a, b)| a == b) && rows.is_multiple_of(c.len) {
            true => Ok(inputs[0].to_vec()),
            false => Err(format!("{c:?} of {inputs:?}")),
        }
    }

    fn more(&self, inputs: &[&[usize]]) -> Vec<(Vec<usize>, DType)> {
        let c = &self.0;
        vec![(vec![inputs[0][0] / c.len, c.heads, c.len], DType::F32)]
    }

    fn vjp<'g>(&self, at: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let mut inputs = at.inputs.clone();
        inputs.extend([at.output, *at.more.first()?, at.grad]);
        let grads = at.graph().apply_more(AttendBack(self.0), &inputs);
        Some(grads.into_iter().map(Some).collect())
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let c = &self.0;
        if !c.head_dim.is_multiple_of(4) || c.head_dim > 128 {
            return Err(Error::Plan(format!(
                "attention trains with heads of a multiple of 4 up to 128, not {}",
                c.head_dim
            )));
        }
        let all = (0..3).map(|i| lower.contiguous(i));
        let [q, k, v] = all.collect::<Result<Vec<_>>>()?[..] else {
            return Ok(false);
        };
        let (shape, caps) = (c.shape(lower.shape[0]), lower.caps);
        let (o, lse) = (lower.output, lower.more[0]);
        let halves = lower.weights == Format::F16;
        let d = match causal_fwd_coop::choose(shape, caps).filter(|_| halves) {
            Some(coop) => {
                let binds = causal_fwd_coop::Binds { q, k, v, o, lse };
                causal_fwd_coop::dispatch(shape, coop, binds, caps)
            }
            None => {
                let binds = causal_fwd::Binds {
                    q,
                    k,
                    v,
                    lengths: q,
                    o,
                    lse,
                };
                causal_fwd::dispatch(shape, false, binds, caps)
            }
        };
        lower.memory.push(d);
        Ok(true)
    }
}

/// Inputs: q, k, v, o, the logarithms, the gradient of o. Results: the gradients of q, k and v.
#[derive(Debug)]
struct AttendBack(Causal);

impl Op for AttendBack {
    fn name(&self) -> &'static str {
        "causal_back"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        Ok(inputs[0].to_vec())
    }

    fn more(&self, inputs: &[&[usize]]) -> Vec<(Vec<usize>, DType)> {
        [1, 2].map(|i| (inputs[i].to_vec(), DType::F32)).into()
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let shape = self.0.shape(lower.shape[0]);
        let all = (0..6).map(|i| lower.contiguous(i));
        let [q, k, v, o, lse, d_o] = all.collect::<Result<Vec<_>>>()?[..] else {
            return Ok(false);
        };
        let stats = lower.memory.scratch_as(DType::F32, 2 * shape.lse_len());
        let binds = causal_stats::Binds { o, d_o, lse, stats };
        let d = causal_stats::dispatch(shape, binds, lower.caps);
        lower.memory.push(d);
        let [dq, dk, dv] = [lower.output, lower.more[0], lower.more[1]];
        let (caps, halves) = (lower.caps, lower.weights == Format::F16);
        let d = match causal_bwd_dq_coop::choose(shape, caps).filter(|_| halves) {
            Some(coop) => {
                let binds = causal_bwd_dq_coop::Binds {
                    q,
                    k,
                    v,
                    d_o,
                    stats,
                    dq,
                };
                causal_bwd_dq_coop::dispatch(shape, coop, binds, caps)
            }
            None => {
                let binds = causal_bwd_dq::Binds {
                    q,
                    k,
                    v,
                    d_o,
                    stats,
                    dq,
                };
                causal_bwd_dq::dispatch(shape, binds, caps)
            }
        };
        lower.memory.push(d);
        let d = match causal_bwd_dkv_coop::choose(shape, caps).filter(|_| halves) {
            Some(coop) => {
                let binds = causal_bwd_dkv_coop::Binds {
                    q,
                    k,
                    v,
                    d_o,
                    stats,
                    dk,
                    dv,
                };
                causal_bwd_dkv_coop::dispatch(shape, coop, binds, caps)
            }
            None => {
                let binds = causal_bwd_dkv::Binds {
                    q,
                    k,
                    v,
                    d_o,
                    stats,
                    dk,
                    dv,
                };
                causal_bwd_dkv::dispatch(shape, binds, caps)
            }
        };
        lower.memory.push(d);
        Ok(true)
    }
}
