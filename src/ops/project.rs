//! y = x · weightᵀ + bias for language models: activations f32, the weight stored as the plan says, with the
//! elementwise work that follows.

use crate::error::{Error, Result};
use crate::graph::{Activation, Encode, Epilogue, Lower, Op, Value, Weight};
use crate::kernels::matmul::linear::{self, Linear, Operands};
use crate::kernels::matmul::{pack, skinny, wide};
use crate::shader::Arg;
use crate::tensor::DType;
use std::ops::Range;
use std::sync::Arc;

/// Up to so many rows a product is bound by its weight, and one kernel serves any number of them alike.
pub(super) const FEW: usize = skinny::ROWS;

/// Whether the result has few rows.
pub(super) fn few_rows(lower: &Lower<'_>) -> bool {
    lower.shape[0] <= FEW
}

/// Rows of a weight in bindings of their own.
pub(super) struct Piece {
    pub w: Arg,
    /// Of blocks; `w` once more where the format has none.
    pub scales: Option<Arg>,
    pub rows: Range<usize>,
}

/// Input `i`, a weight [N, K], packed as [`Lower::format`] says; in several pieces where the adapter does not bind so
/// much at once.
///
/// # Errors
/// [`Error::Plan`] where it is no matrix among the model's weights.
pub(super) fn pieces(lower: &mut Lower<'_>, i: usize) -> Result<Vec<Piece>> {
    let [n, k] = match *lower.layout(i).shape.as_slice() {
        [n, k] => [n, k],
        ref other => return Err(Error::Plan(format!("{other:?} is no matrix"))),
    };
    if !k.is_multiple_of(4) {
        return Err(Error::Plan(format!(
            "a projection takes a depth that is a multiple of 4, not {k}"
        )));
    }
    let format = lower.format(i);
    let packing = pack::Packing::of(format);
    let most = lower
        .caps
        .max_binding_bytes
        .min(lower.caps.max_buffer_bytes);
    let whole = |rows: usize| 4 * pack::words(format, [rows, k]) as u64;
    // 32 rows: whole blocks, and no pair of a gated projection parted.
    let step = 32 * (most / whole(32).max(1)).max(1) as usize;
    let mut out = Vec::new();
    for first in (0..n).step_by(step) {
        let rows = first..n.min(first + step);
        let shape = [rows.len(), k];
        let packed = lower.pack(i, |l| l.slice(0, first, rows.len()).ok())?;
        let mut constant = |name, words, with| {
            let encode = Encode::By {
                name,
                words,
                shape,
                with,
            };
            lower.memory.constant_as(vec![packed.clone()], encode)
        };
        let [name, of_scales] = packing.names;
        let w = constant(name, pack::words(format, shape), packing.w);
        let scales = (packing.scales)
            .map(|with| constant(of_scales, pack::scale_words(format, shape), with));
        out.push(Piece { w, scales, rows });
    }
    Ok(out)
}

/// A projection and what follows it. Inputs: x, weight, (bias), (residual).
#[derive(Clone, Copy, Debug)]
pub(super) struct Project {
    pub bias: bool,
    /// Of each pair of columns (a, b): act(a) · b.
    pub gate: Option<Activation>,
    pub relu: bool,
    pub residual: bool,
    /// Of x.
    pub scale: f32,
}

impl Default for Project {
    fn default() -> Self {
        Self {
            bias: false,
            gate: None,
            relu: false,
            residual: false,
            scale: 1.0,
        }
    }
}

impl Project {
    #[track_caller]
    pub fn apply<'g>(self, x: Value<'g>, weight: &Weight, bias: Option<&Weight>) -> Value<'g> {
        let g = x.graph();
        let mut inputs = vec![x, g.weight(weight)];
        inputs.extend(bias.map(|b| g.weight(b)));
        g.apply(self, &inputs)
    }

    /// With one more piece of work, where a kernel does both.
    pub fn with(self, epilogue: Epilogue) -> Option<Self> {
        if self.gate.is_some() || self.relu || self.residual {
            return None;
        }
        match epilogue {
            Epilogue::Gated(act @ (Activation::Silu | Activation::Gelu)) => Some(Self {
                gate: Some(act),
                ..self
            }),
            Epilogue::Activation(Activation::Relu) => Some(Self { relu: true, ..self }),
            Epilogue::Residual => Some(Self {
                residual: true,
                ..self
            }),
            _ => None,
        }
    }

    fn epilogue(self) -> linear::Epilogue {
        match (self.gate, self.relu, self.residual) {
            (Some(Activation::Gelu), ..) => linear::Epilogue::Gelu,
            (Some(_), ..) => linear::Epilogue::Silu,
            (None, true, _) => linear::Epilogue::Relu,
            (None, false, true) => linear::Epilogue::Add,
            (None, false, false) => linear::Epilogue::Plain,
        }
    }

    /// Pushes the product, of normalised rows where `norm` says which input is the gain and what eps is.
    pub fn push(self, lower: &mut Lower<'_>, norm: Option<(usize, f32)>) -> Result<()> {
        let [n, k] = [lower.shape_of(1, 0), lower.shape_of(1, 1)];
        let mut aux: Vec<usize> = norm.iter().map(|n| n.0).collect();
        aux.extend(self.bias.then_some(2));
        let aux = match aux.is_empty() {
            true => None,
            false => Some(lower.constant_f32(&aux)?),
        };
        let x = lower.contiguous(0)?;
        let r = match self.residual {
            true => Some(lower.contiguous(lower.inputs.len() - 1)?),
            false => None,
        };
        let m = lower.layout(0).len() / k;
        let epilogue = self.epilogue();
        for piece in pieces(lower, 1)? {
            let l = Linear {
                m,
                n: piece.rows.len(),
                k,
                format: lower.format(1),
                norm: norm.map(|n| n.1),
                bias: self.bias,
                epilogue,
                scale: self.scale,
                first: piece.rows.start,
                stride: if epilogue.gated() { n / 2 } else { n },
            };
            let at = Operands {
                x,
                w: piece.w,
                scales: piece.scales,
                aux,
                r,
                y: lower.output,
            };
            let dispatch = match m <= FEW {
                true => skinny::dispatch(&l, at, lower.caps),
                false => wide::dispatch(&l, at, lower.caps),
            };
            lower.memory.push(dispatch);
        }
        Ok(())
    }
}

impl Op for Project {
    fn name(&self) -> &'static str {
        "project"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let (x, w) = (inputs[0], inputs[1]);
        let fits = !self.bias || inputs.get(2) == Some(&&w[..1]);
        match (x, w) {
            ([rows, k], [n, depth]) if k == depth && fits => {
                let columns = if self.gate.is_some() { n / 2 } else { *n };
                Ok(vec![*rows, columns])
            }
            _ => Err(format!(
                "input {x:?}, weight {w:?}, others {:?}",
                &inputs[2..]
            )),
        }
    }

    fn dtype(&self) -> Option<DType> {
        Some(DType::F32)
    }

    fn macs(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        (inputs[0][0] * inputs[1].iter().product::<usize>()) as u64
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        self.push(lower, None)?;
        Ok(true)
    }

    fn with_epilogue(&self, epilogue: Epilogue) -> Option<Arc<dyn Op>> {
        Some(Arc::new(self.with(epilogue)?))
    }
}
