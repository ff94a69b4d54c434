//! y = x · weightᵀ + bias, with an activation and a residual where the planner hands them on.

use crate::error::{Error, Result};
use crate::graph::{Activation, Epilogue, Lower, Op, Pack, Value, Weight};
use crate::kernels::matmul::{Load, Operands, Product, Residual, product};
use crate::ops::by_fours;
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
struct Linear {
    epilogue: Fused,
}

/// The elementwise work that a product takes with it: an activation, then a residual, its last input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fused {
    pub activation: Option<Activation>,
    pub residual: bool,
}

impl Fused {
    /// With one more piece of work, where the order allows it.
    pub fn with(self, epilogue: Epilogue) -> Option<Self> {
        match epilogue {
            Epilogue::Activation(a) if self == Self::default() => Some(Self {
                activation: Some(a),
                residual: false,
            }),
            Epilogue::Residual if !self.residual => Some(Self {
                residual: true,
                ..self
            }),
            _ => None,
        }
    }

    pub fn activation(self) -> &'static str {
        self.activation.map_or("none", Activation::name)
    }
}

/// Pushes the product of the `m` rows that `load` reads from `x` with `w`, a weight laid out as [in…, out],
/// plus input 2, its bias, and the last input where there is a residual.
pub(super) fn push_product(
    lower: &mut Lower<'_>,
    x: crate::shader::Arg,
    load: Load,
    m: usize,
    mut w: Pack,
    fused: Fused,
) -> Result<()> {
    let mut bias = lower.pack_plain(2)?;
    let n = bias.len();
    let k = w.len() / n;
    let padded = n.next_multiple_of(4);
    bias.padded = vec![padded];
    if let Some(last) = w.padded.last_mut() {
        *last = padded;
    }
    let r = match fused.residual {
        true => Some(lower.contiguous(lower.inputs.len() - 1)?),
        false => None,
    };
    let at = Operands {
        x,
        aux: None,
        w: lower.memory.constant(vec![w]),
        bias: lower.memory.constant(vec![bias]),
        r,
        y: lower.output,
    };
    let p = Product {
        m,
        n: padded,
        k,
        load,
        residual: if fused.residual {
            Residual::Rows
        } else {
            Residual::None
        },
        activation: fused.activation(),
    };
    let d = product(&p, lower.dtype, at, lower.caps);
    lower.memory.push(d);
    Ok(())
}

/// Input 0, [..., k], as rows that a product can read: its buffer, and how.
pub(super) fn rows(lower: &mut Lower<'_>) -> Result<(crate::shader::Arg, Load)> {
    let (arg, layout) = lower.strided(0)?;
    let k = layout.shape.last().copied().unwrap_or(1);
    let flat = layout.reshape(&[layout.len() / k.max(1), k]);
    if let Some(flat) = flat.filter(by_fours) {
        let stride = if flat.shape[0] == 1 {
            k
        } else {
            flat.strides[0]
        };
        return Ok((
            arg,
            Load::Rows {
                stride,
                offset: flat.offset,
            },
        ));
    }
    let arg = lower.contiguous(0)?;
    Ok((
        arg,
        Load::Rows {
            stride: k,
            offset: 0,
        },
    ))
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let (x, w) = (inputs[0], inputs[1]);
        match x.split_last() {
            Some((k, lead)) if w.len() == 2 && *k == w[1] && inputs[2] == [w[0]] => {
                Ok([lead, &[w[0]]].concat())
            }
            _ => Err(format!("input {x:?}, weight {w:?}, bias {:?}", inputs[2])),
        }
    }

    fn macs(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        (output.iter().product::<usize>() * inputs[1][1]) as u64
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let k = lower.layout(1).shape[1];
        if !k.is_multiple_of(4) {
            return Err(Error::Plan(format!(
                "linear takes a depth that is a multiple of 4, not {k}"
            )));
        }
        let m = lower.layout(0).len() / k;
        let (x, load) = rows(lower)?;
        let w = lower.pack_transposed(1)?;
        push_product(lower, x, load, m, w, self.epilogue)?;
        Ok(true)
    }

    fn pads_channels(&self) -> bool {
        true
    }

    fn with_epilogue(&self, epilogue: Epilogue) -> Option<Arc<dyn Op>> {
        let epilogue = self.epilogue.with(epilogue)?;
        Some(Arc::new(Self { epilogue }))
    }
}

impl<'g> Value<'g> {
    /// x · weightᵀ + bias: [..., in] with weight [out, in] and bias [out] gives [..., out].
    #[track_caller]
    pub fn linear(self, weight: &Weight, bias: &Weight) -> Self {
        let g = self.graph();
        g.apply(Linear::default(), &[self, g.weight(weight), g.weight(bias)])
    }
}
