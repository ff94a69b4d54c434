//! Attention of a run's queries over a cache of keys and values: few queries split over the keys, many by tiles. No
//! matrix of scores is ever in device memory.

use crate::error::{Error, Result};
use crate::graph::{Lower, Op, Value, Weight};
use crate::kernels::attention::cached::Cached;
use crate::kernels::attention::{combine, decode, flash, lanes};
use crate::ops::project::FEW;
use crate::tensor::DType;

/// How queries look at a cache [2, kv_heads, capacity, head_dim].
#[derive(Clone, Copy, Debug)]
pub struct Attend<'a> {
    /// What a score is multiplied by.
    scale: Option<f32>,
    /// Query i stands at `state` + i and sees no later key; else `state` is the number of keys, and all are seen.
    causal: bool,
    /// Keys that a query sees, its own among them; all where `None`.
    window: Option<usize>,
    /// f32 [heads, 2·R + 1], added to a score by the distance of the key from the query, at most ±R.
    bias: Option<&'a Weight>,
}

impl<'a> Attend<'a> {
    /// Each query sees the keys up to its own; scores are divided by the root of `head_dim`.
    pub fn causal(head_dim: usize, window: Option<usize>) -> Self {
        Self {
            scale: Some(1.0 / (head_dim as f32).sqrt()),
            causal: true,
            window,
            bias: None,
        }
    }

    /// Each query sees the keys up to its own; scores are as they are.
    pub fn causal_unscaled(window: Option<usize>) -> Self {
        Self {
            scale: None,
            causal: true,
            window,
            bias: None,
        }
    }

    /// Every query sees all keys; scores are as they are.
    pub fn all() -> Self {
        Self {
            scale: None,
            causal: false,
            window: None,
            bias: None,
        }
    }

    /// With a bias on the scores by distance, [heads, 2·R + 1].
    #[must_use]
    pub fn with_bias(self, bias: &'a Weight) -> Self {
        Self {
            bias: Some(bias),
            ..self
        }
    }

    /// softmax(q · keysᵀ) · values, for q [rows, heads · head_dim]. `state` [1] is the position of row 0, or the number
    /// of keys.
    #[track_caller]
    pub fn apply<'g>(&self, q: Value<'g>, cache: Value<'g>, state: Value<'g>) -> Value<'g> {
        let g = q.graph();
        let op = AttendOp {
            scale: self.scale.unwrap_or(1.0),
            causal: self.causal,
            window: self.window.unwrap_or(0),
            reach: self.bias.map(|b| b.shape[1] / 2),
        };
        let mut inputs = vec![q, cache, state];
        inputs.extend(self.bias.map(|b| g.weight(b)));
        g.apply(op, &inputs)
    }
}

#[derive(Debug)]
struct AttendOp {
    scale: f32,
    causal: bool,
    window: usize,
    reach: Option<usize>,
}

impl Op for AttendOp {
    fn name(&self) -> &'static str {
        "attend"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match (inputs[0], inputs[1]) {
            ([_, width], [2, heads, _, d]) if width.is_multiple_of(heads * d) => {
                Ok(inputs[0].to_vec())
            }
            _ => Err(format!("queries {:?}, cache {:?}", inputs[0], inputs[1])),
        }
    }

    fn dtype(&self) -> Option<DType> {
        Some(DType::F32)
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let [m, width] = [lower.shape_of(0, 0), lower.shape_of(0, 1)];
        let head_dim = lower.shape_of(1, 3);
        if !head_dim.is_multiple_of(4) || head_dim > 256 {
            return Err(Error::Plan(format!(
                "attention takes heads of a multiple of 4 up to 256, not {head_dim}"
            )));
        }
        let a = Cached {
            m,
            heads: width / head_dim,
            kv_heads: lower.shape_of(1, 1),
            head_dim,
            capacity: lower.shape_of(1, 2),
            window: self.window,
            reach: self.reach,
            causal: self.causal,
            scale: self.scale,
        };
        let (elem, caps) = (lower.elem, lower.caps);
        let (cache, start) = (lower.strided(1)?.0, lower.strided(2)?.0);
        let q = lower.contiguous(0)?;
        let bias = match self.reach {
            Some(_) => lower.constant_f32(&[3])?,
            None => q,
        };
        if let Some(lanes) = caps.lanes() {
            let binds = lanes::Binds {
                q,
                cache,
                start,
                bias,
                o: lower.output,
            };
            let d = lanes::dispatch(&a, elem, binds, lanes, caps);
            lower.memory.push(d);
            return Ok(true);
        }
        if m > FEW {
            let binds = flash::Binds {
                q,
                cache,
                start,
                bias,
                o: lower.output,
            };
            lower.memory.push(flash::dispatch(&a, elem, binds, caps));
            return Ok(true);
        }
        let [partial, stats] = a.partial().map(|n| lower.memory.scratch_as(DType::F32, n));
        let binds = decode::Binds {
            q,
            cache,
            start,
            bias,
            partial,
            stats,
        };
        lower.memory.push(decode::dispatch(&a, elem, binds, caps));
        let binds = combine::Binds {
            partial,
            stats,
            start,
            o: lower.output,
        };
        lower.memory.push(combine::dispatch(&a, binds, caps));
        Ok(true)
    }
}
