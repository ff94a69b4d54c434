//! Attention of whole sequences, and its gradient, which computes the scores again: no matrix of them is ever in device
//! memory.

use crate::error::{Error, Result};
use crate::graph::{Backward, Lower, Op, Value, Weight};
use crate::kernels::attention::causal::Shape;
use crate::kernels::attention::{
    causal_bwd_bias, causal_bwd_dkv, causal_bwd_dkv_coop, causal_bwd_dq, causal_bwd_dq_coop,
    causal_fwd, causal_fwd_coop, causal_stats, turn,
};
use crate::kernels::reduce::columns;
use crate::shader::Arg;
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
        let whole = Whole {
            len: self.len,
            keys: self.len,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: 1.0 / (self.head_dim as f32).sqrt(),
            causal: true,
        };
        whole.apply([q, k, v], None, None)
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
}

/// Attention in sequences of `len` queries and `keys` keys, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    pub len: usize,
    pub keys: usize,
    /// Of the queries.
    pub heads: usize,
    /// A divisor of `heads`.
    pub kv_heads: usize,
    /// A multiple of 4, at most 128.
    pub head_dim: usize,
    /// What products of queries and keys are multiplied by.
    pub scale: f32,
    /// Query i of a sequence sees its keys 0 to i alone, of which there are as many.
    pub causal: bool,
}

impl Whole {
    /// Attends with queries [sequences·len, heads·head_dim], and keys and values [sequences·keys, kv_heads·head_dim]:
    /// [sequences·len, heads·head_dim]. `bias` [heads, len + keys - 1] is added to the scores, that of key j and query i
    /// at j - i + len - 1; `lengths` u32 [sequences] says how many keys of each sequence there are, where the others are
    /// padding.
    #[track_caller]
    pub fn apply<'g>(
        &self,
        qkv: [Value<'g>; 3],
        bias: Option<Value<'g>>,
        lengths: Option<Value<'g>>,
    ) -> Value<'g> {
        let mut inputs = qkv.to_vec();
        inputs.extend(bias);
        inputs.extend(lengths);
        let op = Attend {
            whole: *self,
            bias: bias.is_some(),
            padded: lengths.is_some(),
        };
        qkv[0].graph().apply_more(op, &inputs)[0]
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

/// Inputs: q, k, v, then the bias and the lengths where there are such. Results: o, the logarithms of the scores' sums
/// [sequences, heads, len].
#[derive(Clone, Copy, Debug)]
struct Attend {
    whole: Whole,
    bias: bool,
    padded: bool,
}

impl Attend {
    fn shape(&self, rows: usize) -> Shape {
        let w = &self.whole;
        Shape {
            batch: rows / w.len,
            len: w.len,
            keys: w.keys,
            heads: w.heads,
            kv_heads: w.kv_heads,
            head_dim: w.head_dim,
            scale: w.scale,
            causal: w.causal,
            bias: self.bias,
            padded: self.padded,
        }
    }

    /// Bias and lengths, or what stands for one that is not there.
    fn more(&self, lower: &mut Lower<'_>, none: Arg) -> Result<[Arg; 2]> {
        let bias = match self.bias {
            true => lower.contiguous(3)?,
            false => none,
        };
        let lengths = match self.padded {
            true => lower.contiguous(3 + usize::from(self.bias))?,
            false => none,
        };
        Ok([bias, lengths])
    }
}

impl Op for Attend {
    fn name(&self) -> &'static str {
        "whole"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let w = &self.whole;
        let [q, kv] = [w.heads, w.kv_heads].map(|n| n * w.head_dim);
        let rows = inputs[0].first().copied().unwrap_or(0);
        let of_keys = rows / w.len * w.keys;
        let mut wanted = vec![vec![rows, q], vec![of_keys, kv], vec![of_keys, kv]];
        wanted.extend(self.bias.then(|| vec![w.heads, w.len + w.keys - 1]));
        wanted.extend(self.padded.then(|| vec![rows / w.len]));
        let whole = rows.is_multiple_of(w.len) && (!w.causal || w.len == w.keys);
        match whole && wanted == inputs {
            true => Ok(inputs[0].to_vec()),
            false => Err(format!("{self:?} of {inputs:?}")),
        }
    }

    fn more(&self, inputs: &[&[usize]]) -> Vec<(Vec<usize>, DType)> {
        let w = &self.whole;
        let sums = vec![inputs[0][0] / w.len, w.heads, w.len];
        vec![(sums, DType::F32)]
    }

    fn vjp<'g>(&self, at: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let mut inputs = at.inputs.clone();
        inputs.extend([at.output, *at.more.first()?, at.grad]);
        let made = at.graph().apply_more(AttendBack(*self), &inputs);
        let rows = at.inputs[1].dim(0);
        let d_kv = *made.get(1)?;
        let [dk, dv] = [0, rows].map(|first| d_kv.slice(0, first, rows));
        let mut grads = vec![Some(made[0]), Some(dk), Some(dv)];
        grads.extend(made.get(2).map(|dbias| Some(*dbias)));
        grads.extend(self.padded.then_some(None));
        Some(grads)
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let head_dim = self.whole.head_dim;
        if !head_dim.is_multiple_of(4) || head_dim > 128 {
            return Err(Error::Plan(format!(
                "attention trains with heads of a multiple of 4 up to 128, not {head_dim}"
            )));
        }
        let [q, k, v] = [
            lower.contiguous(0)?,
            lower.contiguous(1)?,
            lower.contiguous(2)?,
        ];
        let [bias, lengths] = self.more(lower, q)?;
        let (shape, caps) = (self.shape(lower.shape[0]), lower.caps);
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
                    bias,
                    lengths,
                    o,
                    lse,
                };
                causal_fwd::dispatch(shape, binds, caps)
            }
        };
        lower.memory.push(d);
        Ok(true)
    }
}

/// Inputs: those of [`Attend`], o, the logarithms, the gradient of o. Results: the gradients of q, of k and v one after
/// the other, and of the bias where there is one.
#[derive(Debug)]
struct AttendBack(Attend);

impl Op for AttendBack {
    fn name(&self) -> &'static str {
        "whole_back"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        Ok(inputs[0].to_vec())
    }

    fn more(&self, inputs: &[&[usize]]) -> Vec<(Vec<usize>, DType)> {
        let mut more = vec![(vec![2 * inputs[1][0], inputs[1][1]], DType::F32)];
        more.extend(self.0.bias.then(|| (inputs[3].to_vec(), DType::F32)));
        more
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let shape = self.0.shape(lower.shape[0]);
        let [q, k, v] = [
            lower.contiguous(0)?,
            lower.contiguous(1)?,
            lower.contiguous(2)?,
        ];
        let [bias, lengths] = self.0.more(lower, q)?;
        let last = lower.inputs.len() - 3;
        let [o, lse, d_o] = [
            lower.contiguous(last)?,
            lower.contiguous(last + 1)?,
            lower.contiguous(last + 2)?,
        ];
        let stats = lower.memory.scratch_as(DType::F32, 2 * shape.lse_len());
        let binds = causal_stats::Binds { o, d_o, lse, stats };
        let d = causal_stats::dispatch(shape, binds, lower.caps);
        lower.memory.push(d);
        let [dq, d_kv] = [lower.output, lower.more[0]];
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
                    bias,
                    lengths,
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
                    d_kv,
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
                    bias,
                    lengths,
                    d_kv,
                };
                causal_bwd_dkv::dispatch(shape, binds, caps)
            }
        };
        lower.memory.push(d);
        if !self.0.bias {
            return Ok(true);
        }
        let one = shape.heads * shape.span();
        let parts = lower.memory.scratch_as(DType::F32, shape.batch * one);
        let binds = causal_bwd_bias::Binds {
            q,
            k,
            v,
            d_o,
            stats,
            bias,
            lengths,
            parts,
        };
        let d = causal_bwd_bias::dispatch(shape, binds, lower.caps);
        lower.memory.push(d);
        let binds = columns::Binds {
            x: parts,
            y: lower.more[1],
        };
        let d = columns::dispatch([shape.batch, one], 1.0, false, binds, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}
