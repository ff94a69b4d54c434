//! Elementwise `a + b` and `a * b`, dimensions of size 1 repeated.

use crate::error::Result;
use crate::graph::{Backward, Epilogue, Lower, Op, Value};
use crate::kernels::elementwise::binary::{self, Binds};
use std::ops::{Add, Mul};

#[derive(Debug)]
struct Binary(&'static str);

impl Op for Binary {
    fn name(&self) -> &'static str {
        self.0
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        if inputs[0] == inputs[1] {
            Ok(inputs[0].to_vec())
        } else {
            Err(format!(
                "shapes differ: {:?} and {:?}",
                inputs[0], inputs[1]
            ))
        }
    }

    fn vjp<'g>(&self, at: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let (a, b, dy) = (at.inputs[0], at.inputs[1], at.grad);
        Some(match self.0 {
            "add" => vec![Some(dy), Some(dy)],
            _ => vec![Some(dy * b), Some(dy * a)],
        })
    }

    fn as_epilogue(&self) -> Option<Epilogue> {
        (self.0 == "add").then_some(Epilogue::Residual)
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let (a, a_layout) = lower.strided(0)?;
        let (b, b_layout) = lower.strided(1)?;
        let binds = Binds {
            a,
            b,
            y: lower.output,
        };
        let (a, b) = (a_layout.four()?, b_layout.four()?);
        let d = binary::dispatch(self.0, lower.dtype, &a, &b, binds, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}

/// Both seen in the shape that holds both.
#[track_caller]
fn together<'g>(a: Value<'g>, b: Value<'g>) -> [Value<'g>; 2] {
    let (sa, sb) = (a.shape(), b.shape());
    if sa.len() != sb.len() {
        return [a, b];
    }
    let shape: Vec<usize> = sa.iter().zip(&sb).map(|(&x, &y)| x.max(y)).collect();
    let fits = |s: &[usize]| s.iter().zip(&shape).all(|(&d, &to)| d == to || d == 1);
    if fits(&sa) && fits(&sb) {
        [a.broadcast(&shape), b.broadcast(&shape)]
    } else {
        [a, b]
    }
}

impl<'g> Add for Value<'g> {
    type Output = Value<'g>;

    #[track_caller]
    fn add(self, other: Value<'g>) -> Value<'g> {
        self.graph().apply(Binary("add"), &together(self, other))
    }
}

impl<'g> Mul for Value<'g> {
    type Output = Value<'g>;

    #[track_caller]
    fn mul(self, other: Value<'g>) -> Value<'g> {
        self.graph().apply(Binary("mul"), &together(self, other))
    }
}
