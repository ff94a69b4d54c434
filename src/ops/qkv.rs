//! The projection of queries, keys and values, their rotary positions, and the keys and values put into the cache.

use super::norm::Norm;
use super::project::{Project, few_rows, pieces};
use crate::error::Result;
use crate::graph::{Lower, Op, Value, Weight};
use crate::kernels::attention::{qkv, rotary};
use crate::tensor::DType;

/// q, k, v = norm(x) · weightᵀ + bias, one under the other in the weight's rows, those of q and k with rotary pairs
/// beside each other.
#[derive(Clone, Copy, Debug)]
pub struct Qkv<'a> {
    pub norm: Norm<'a>,
    /// [(heads + 2·kv_heads)·head_dim, width of x]
    pub weight: &'a Weight,
    pub bias: Option<&'a Weight>,
    /// Heads of the queries.
    pub heads: usize,
    /// (cos, sin) of the angles, [positions, head_dim / 2, 2]; no rotary positions where `None`.
    pub rotary: Option<&'a Weight>,
}

impl Qkv<'_> {
    /// The queries [rows, heads · head_dim] of x [rows, width]; keys and values of row i go into `cache`
    /// [2, kv_heads, capacity, head_dim] at the slot of position `start` [1] + i.
    #[track_caller]
    pub fn apply<'g>(&self, x: Value<'g>, cache: Value<'g>, start: Value<'g>) -> Value<'g> {
        let g = x.graph();
        let op = QkvOp {
            heads: self.heads,
            eps: self.norm.eps,
            bias: self.bias.is_some(),
            rotary: self.rotary.is_some(),
        };
        let mut inputs = vec![x, g.weight(self.weight)];
        inputs.extend(self.bias.map(|b| g.weight(b)));
        inputs.extend([g.weight(self.norm.gain), cache, start]);
        inputs.extend(self.rotary.map(|r| g.weight(r)));
        g.fused(op, &inputs, || {
            let eps = f64::from(self.norm.eps);
            let all = x
                .rms_norm(self.norm.gain, eps)
                .project(self.weight, self.bias);
            all.turn(self.heads, self.rotary, cache, start)
        })
    }
}

/// Inputs: x, weight, (bias), gain, cache, start, (rotary).
#[derive(Debug)]
struct QkvOp {
    heads: usize,
    eps: f32,
    bias: bool,
    rotary: bool,
}

impl Op for QkvOp {
    fn name(&self) -> &'static str {
        "qkv"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let cache = inputs[3 + usize::from(self.bias)];
        turned(self.heads, &[inputs[0][0], inputs[1][0]], cache)
    }

    fn dtype(&self) -> Option<DType> {
        Some(DType::F32)
    }

    fn macs(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        (inputs[0][0] * inputs[1].iter().product::<usize>()) as u64
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        if !few_rows(lower) {
            return Ok(false);
        }
        let gain = 2 + usize::from(self.bias);
        let aux = if self.bias { vec![gain, 2] } else { vec![gain] };
        let (x, aux) = (lower.contiguous(0)?, lower.constant_f32(&aux)?);
        let (cache, start) = (lower.strided(gain + 1)?.0, lower.strided(gain + 2)?.0);
        let turn = match self.rotary {
            true => Some(lower.constant_f32(&[gain + 3])?),
            false => None,
        };
        for piece in pieces(lower, 1)? {
            let part = qkv::Qkv {
                m: lower.shape[0],
                n: piece.rows.len(),
                k: lower.shape_of(1, 1),
                first: piece.rows.start,
                format: lower.format(1),
                norm: Some(self.eps),
                bias: self.bias,
                rotary: self.rotary,
                heads: self.heads,
                kv_heads: lower.shape_of(gain + 1, 1),
                dim: lower.shape_of(gain + 1, 3),
                capacity: lower.shape_of(gain + 1, 2),
            };
            let at = qkv::Operands {
                x,
                w: piece.w,
                scales: piece.scales,
                aux: Some(aux),
                rotary: turn,
                start,
                q: lower.output,
                cache,
            };
            let dispatch = qkv::dispatch(&part, lower.elem, at, lower.caps);
            lower.memory.push(dispatch);
        }
        Ok(true)
    }
}

/// The shape of the queries in rows of `shape`, which has heads of queries, keys and values for `cache`.
fn turned(heads: usize, shape: &[usize], cache: &[usize]) -> Result<Vec<usize>, String> {
    match (shape, cache) {
        (&[rows, width], &[2, kv_heads, _, d]) if width == (heads + 2 * kv_heads) * d => {
            // Without queries, something must still be the result: one number a row.
            Ok(vec![rows, (heads * d).max(1)])
        }
        _ => Err(format!(
            "{heads} heads of queries in {shape:?}, cache {cache:?}"
        )),
    }
}

/// Inputs: qkv, cache, start, (rotary).
#[derive(Debug)]
struct Turn {
    heads: usize,
    rotary: bool,
}

impl Op for Turn {
    fn name(&self) -> &'static str {
        "turn"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        turned(self.heads, inputs[0], inputs[1])
    }

    fn dtype(&self) -> Option<DType> {
        Some(DType::F32)
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let all = lower.contiguous(0)?;
        let (cache, start) = (lower.strided(1)?.0, lower.strided(2)?.0);
        let turn = match self.rotary {
            true => Some((lower.constant_f32(&[3])?, lower.shape_of(3, 0))),
            false => None,
        };
        let rows = rotary::Rows {
            m: lower.shape[0],
            heads: self.heads,
            kv_heads: lower.shape_of(1, 1),
            head_dim: lower.shape_of(1, 3),
            capacity: lower.shape_of(1, 2),
        };
        let binds = rotary::Binds {
            qkv: all,
            rotary: turn.map_or(all, |t| t.0),
            start,
            q: lower.output,
            cache,
        };
        let d = rotary::dispatch(rows, turn.map(|t| t.1), lower.elem, binds, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}

impl<'g> Value<'g> {
    /// Of queries, keys and values [rows, (heads + 2·kv_heads)·head_dim]: turns those of queries and keys by their
    /// positions, puts keys and values into `cache`, and is the queries.
    #[track_caller]
    pub fn turn(
        self,
        heads: usize,
        rotary: Option<&Weight>,
        cache: Value<'g>,
        start: Value<'g>,
    ) -> Self {
        let g = self.graph();
        let op = Turn {
            heads,
            rotary: rotary.is_some(),
        };
        let mut inputs = vec![self, cache, start];
        inputs.extend(rotary.map(|r| g.weight(r)));
        g.apply(op, &inputs)
    }

    /// Puts keys and values [rows, 2·kv_heads·head_dim] into `cache`. What it is has no meaning: an output keeps it.
    #[track_caller]
    pub fn remember(self, cache: Value<'g>, start: Value<'g>) -> Self {
        self.turn(0, None, cache, start)
    }

    /// x · weightᵀ + bias: [rows, in] with weight [out, in] gives f32 [rows, out].
    #[track_caller]
    pub fn project(self, weight: &Weight, bias: Option<&Weight>) -> Self {
        let project = Project {
            bias: bias.is_some(),
            ..Project::default()
        };
        project.apply(self, weight, bias)
    }
}
