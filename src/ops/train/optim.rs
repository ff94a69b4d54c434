//! Optimisers: ops that change weights and what is kept of past gradients, all states.

use crate::error::Result;
use crate::graph::{Graph, Lower, Op, Value};
use crate::kernels::elementwise::fill;
use crate::kernels::optim::{CONTROL, adamw, clip, norm, sgd};
use crate::kernels::reduce::columns;
use crate::tensor::DType;

fn same(inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
    match inputs.iter().all(|s| s == &inputs[0]) {
        true => Ok(inputs[0].to_vec()),
        false => Err(format!("shapes {inputs:?} differ")),
    }
}

/// Inputs: control, the gradients.
#[derive(Debug)]
struct Clip {
    most: f32,
    scale: f32,
}

impl Op for Clip {
    fn name(&self) -> &'static str {
        "clip"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match inputs[0] {
            [CONTROL] => Ok(vec![CONTROL]),
            other => Err(format!("control of {CONTROL} words, not {other:?}")),
        }
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let sizes: Vec<usize> = (1..lower.inputs.len())
            .map(|i| lower.layout(i).len())
            .collect();
        let all = sizes.iter().map(|&n| norm::parts(n)).sum();
        let parts = lower.memory.scratch_as(DType::F32, all);
        let mut first = 0;
        for (i, n) in sizes.into_iter().enumerate() {
            let g = lower.contiguous(i + 1)?;
            let d = norm::dispatch(n, first, norm::Binds { g, parts }, lower.caps);
            lower.memory.push(d);
            first += norm::parts(n);
        }
        let control = lower.contiguous(0)?;
        let binds = clip::Binds { parts, control };
        let d = clip::dispatch(all, [self.most, 1.0 / self.scale], binds, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}

/// Inputs: weight, gradient, first and second moment, control.
#[derive(Debug)]
struct AdamW(adamw::Settings);

impl Op for AdamW {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        same(&inputs[..4])
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let n = lower.layout(0).len();
        let binds = adamw::Binds {
            w: lower.contiguous(0)?,
            g: lower.contiguous(1)?,
            m: lower.contiguous(2)?,
            v: lower.contiguous(3)?,
            control: lower.contiguous(4)?,
        };
        let d = adamw::dispatch(n, self.0, binds, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}

/// Inputs: weight, gradient, velocity, control.
#[derive(Debug)]
struct Sgd {
    momentum: f32,
    weight_decay: f32,
}

impl Op for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        same(&inputs[..3])
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let n = lower.layout(0).len();
        let binds = sgd::Binds {
            w: lower.contiguous(0)?,
            g: lower.contiguous(1)?,
            v: lower.contiguous(2)?,
            control: lower.contiguous(3)?,
        };
        let d = sgd::dispatch(n, self.momentum, self.weight_decay, binds, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}

/// Inputs: a state, what a share is added of.
#[derive(Debug)]
struct AddTo {
    share: f32,
}

impl Op for AddTo {
    fn name(&self) -> &'static str {
        "add_to"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        same(inputs)
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let n = lower.layout(0).len();
        let binds = columns::Binds {
            x: lower.contiguous(1)?,
            y: lower.contiguous(0)?,
        };
        let d = columns::dispatch([1, n], self.share, true, binds, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}

/// Inputs: a state, and what must be computed before.
#[derive(Debug)]
struct Clear;

impl Op for Clear {
    fn name(&self) -> &'static str {
        "clear"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        Ok(inputs[0].to_vec())
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let n = lower.layout(0).len() as u32;
        let y = lower.contiguous(0)?;
        let d = fill::dispatch(n, 0.0, fill::Binds { y }, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}

impl Graph {
    /// The state `control` f32 [8] of an update, whose meaning `kernels::optim` says.
    #[track_caller]
    pub fn control(&self) -> Value<'_> {
        self.state("control", &[CONTROL], DType::F32)
    }

    /// Prepares an update by `grads`: `control` counts it and holds the factor that makes the norm of all of them at
    /// most `most`; where the norm is no finite number, the update is skipped. Updates take the result. `scale`, a power
    /// of two: what the gradients are times of.
    #[track_caller]
    pub fn clip<'g>(&'g self, grads: &[Value<'g>], most: Option<f32>, scale: f32) -> Value<'g> {
        let mut inputs = vec![self.control()];
        inputs.extend(grads);
        let most = most.unwrap_or(0.0);
        self.apply(Clip { most, scale }, &inputs)
    }

    /// The norm of all of `values`, where `kernels::optim` says that of gradients stands in a state like `control`.
    #[track_caller]
    pub fn norm_of<'g>(&'g self, values: &[Value<'g>]) -> Value<'g> {
        let mut inputs = vec![self.state("norm", &[CONTROL], DType::F32)];
        inputs.extend(values);
        let (most, scale) = (0.0, 1.0);
        self.apply(Clip { most, scale }, &inputs)
    }
}

impl<'g> Value<'g> {
    /// Changes a weight, a state, by AdamW (arXiv 1711.05101). `moments` are states of its shape, zero at first;
    /// `control` is what [`Graph::clip`] gave.
    #[track_caller]
    pub fn adamw(
        self,
        grad: Value<'g>,
        moments: [Value<'g>; 2],
        control: Value<'g>,
        settings: adamw::Settings,
    ) -> Self {
        let inputs = [self, grad, moments[0], moments[1], control];
        self.graph().apply(AdamW(settings), &inputs)
    }

    /// As [`Value::adamw`], by gradient descent with momentum; `velocity` is zero at first.
    #[track_caller]
    pub fn sgd(
        self,
        grad: Value<'g>,
        velocity: Value<'g>,
        control: Value<'g>,
        momentum: f32,
        weight_decay: f32,
    ) -> Self {
        let op = Sgd {
            momentum,
            weight_decay,
        };
        self.graph().apply(op, &[self, grad, velocity, control])
    }

    /// Adds `share` × `x` to a state of f32.
    #[track_caller]
    pub fn add_to(self, x: Value<'g>, share: f32) -> Self {
        self.graph().apply(AddTo { share }, &[self, x])
    }

    /// Makes a state of f32 zero, once `before` are computed.
    #[track_caller]
    pub fn clear(self, before: &[Value<'g>]) -> Self {
        let mut inputs = vec![self];
        inputs.extend(before);
        self.graph().apply(Clear, &inputs)
    }
}
