//! RMS norm (Zhang and Sennrich, arXiv 1910.07467), and what follows it in one kernel where rows are few.

use super::project::{Project, few_rows};
use super::train::rms_norm_back;
use crate::error::Result;
use crate::graph::{Activation, Backward, Lower, Op, Operand, Value, Weight};
use crate::kernels::norm::rms_norm::{self, Binds};
use crate::tensor::DType;

#[derive(Debug)]
struct RmsNorm {
    eps: f32,
}

impl Op for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match (inputs[0].last(), inputs[1]) {
            (Some(d), [gain]) if d == gain => Ok(inputs[0].to_vec()),
            _ => Err(format!("input {:?}, gain {:?}", inputs[0], inputs[1])),
        }
    }

    fn vjp<'g>(&self, at: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let grads = rms_norm_back(at.inputs[0], at.inputs[1], at.grad, self.eps);
        Some(grads.into_iter().map(Some).collect())
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let cols = lower.shape_of(1, 0);
        let rows = lower.layout(0).len() / cols;
        // A gain is f32 however other weights are stored.
        let g = match lower.inputs[1] {
            Operand::Weight { .. } => lower.constant_f32(&[1])?,
            Operand::Buffer { .. } => lower.strided(1)?.0,
        };
        let binds = Binds {
            x: lower.contiguous(0)?,
            g,
            y: lower.output,
        };
        let d = rms_norm::dispatch([rows, cols], 0, self.eps, binds, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}

/// x / sqrt(mean(x²) + eps) · gain, over the last dimension.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    pub gain: &'a Weight,
    pub eps: f32,
    scale: f32,
}

impl<'a> Norm<'a> {
    pub fn new(gain: &'a Weight, eps: f64) -> Self {
        Self {
            gain,
            eps: eps as f32,
            scale: 1.0,
        }
    }

    /// The same, its result multiplied by `scale`.
    #[must_use]
    pub fn times(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    /// norm(x) · weightᵀ + bias: [rows, in] with weight [out, in] gives [rows, out].
    #[track_caller]
    pub fn project<'g>(&self, x: Value<'g>, weight: &Weight, bias: Option<&Weight>) -> Value<'g> {
        self.then(x, weight, bias, None)
    }

    /// The projection, whose columns come in pairs (a, b), and of each pair act(a) · b: [rows, out / 2].
    #[track_caller]
    pub fn gated<'g>(
        &self,
        x: Value<'g>,
        weight: &Weight,
        bias: Option<&Weight>,
        act: Activation,
    ) -> Value<'g> {
        self.then(x, weight, bias, Some(act))
    }

    #[track_caller]
    fn then<'g>(
        &self,
        x: Value<'g>,
        weight: &Weight,
        bias: Option<&Weight>,
        gate: Option<Activation>,
    ) -> Value<'g> {
        let g = x.graph();
        let project = Project {
            bias: bias.is_some(),
            gate,
            scale: self.scale,
            ..Project::default()
        };
        let mut inputs = vec![x, g.weight(weight)];
        inputs.extend(bias.map(|b| g.weight(b)));
        inputs.push(g.weight(self.gain));
        let eps = self.eps;
        g.fused(NormProject { project, eps }, &inputs, || {
            let plain = Project {
                gate: None,
                ..project
            };
            let y = plain.apply(x.rms_norm(self.gain, f64::from(eps)), weight, bias);
            match gate {
                Some(act) => y.gated(act),
                None => y,
            }
        })
    }
}

/// A projection of normalised rows. The last input is the norm's gain.
#[derive(Debug)]
struct NormProject {
    project: Project,
    eps: f32,
}

impl Op for NormProject {
    fn name(&self) -> &'static str {
        "norm_project"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        self.project.infer(&inputs[..inputs.len() - 1])
    }

    fn dtype(&self) -> Option<DType> {
        Some(DType::F32)
    }

    fn with_epilogue(&self, epilogue: crate::graph::Epilogue) -> Option<std::sync::Arc<dyn Op>> {
        // The gain would no longer be the last input.
        let project = match epilogue {
            crate::graph::Epilogue::Residual => return None,
            other => self.project.with(other)?,
        };
        Some(std::sync::Arc::new(Self { project, ..*self }))
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        if !few_rows(lower) {
            return Ok(false);
        }
        let gain = lower.inputs.len() - 1;
        self.project.push(lower, Some((gain, self.eps)))?;
        Ok(true)
    }
}

impl<'g> Value<'g> {
    /// x / sqrt(mean(x²) + eps) · gain, over the last dimension.
    #[track_caller]
    pub fn rms_norm(self, gain: &Weight, eps: f64) -> Self {
        self.normed(self.graph().weight(gain), eps)
    }

    /// The same, of a `gain` [last dimension] that may be trained.
    #[track_caller]
    pub fn normed(self, gain: Value<'g>, eps: f64) -> Self {
        let op = RmsNorm { eps: eps as f32 };
        self.graph().apply(op, &[self, gain])
    }
}
