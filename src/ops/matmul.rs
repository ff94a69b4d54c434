//! Products of batches of matrices, both operands computed: a · b.

use crate::error::Result;
use crate::graph::{Lower, Op, Value};
use crate::kernels::matmul::batched::{self, Binds};

#[derive(Debug)]
struct Matmul {
    scale: f32,
}

impl Op for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match (inputs[0], inputs[1]) {
            ([b, m, k], [b2, k2, n]) if b == b2 && k == k2 => Ok(vec![*b, *m, *n]),
            (a, b) => Err(format!("{a:?} · {b:?}")),
        }
    }

    fn macs(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        (output.iter().product::<usize>() * inputs[0][2]) as u64
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let (a, a_layout) = lower.strided(0)?;
        let (w, w_layout) = lower.strided(1)?;
        let binds = Binds {
            a,
            w,
            y: lower.output,
        };
        let (a, w) = (a_layout.four()?, w_layout.four()?);
        let d = batched::dispatch(&a, &w, self.scale, lower.dtype, binds, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}

impl<'g> Value<'g> {
    /// scale · self · other: [batch, m, k] · [batch, k, n] → [batch, m, n].
    #[track_caller]
    pub fn matmul(self, other: Value<'g>, scale: f32) -> Self {
        self.graph().apply(Matmul { scale }, &[self, other])
    }
}
