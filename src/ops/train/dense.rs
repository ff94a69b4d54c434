//! Products of dense f32 matrices, of weights that are trained.

use crate::error::Result;
use crate::graph::{Backward, Lower, Op, Value};
use crate::kernels::matmul::{dense, dense_coop, dense_lanes};
use crate::kernels::reduce::columns;
use crate::tensor::{DType, Format};

/// y [m, n] = A [m, k] · B [k, n].
#[derive(Clone, Copy, Debug)]
struct Product {
    /// A is given as [k, m].
    a_turned: bool,
    /// B is given as [n, k].
    b_turned: bool,
}

impl Product {
    #[track_caller]
    fn of<'g>(a: Value<'g>, a_turned: bool, b: Value<'g>, b_turned: bool) -> Value<'g> {
        let op = Self { a_turned, b_turned };
        a.graph().apply(op, &[a, b])
    }

    /// m, n, k
    fn sizes(&self, a: &[usize], b: &[usize]) -> Option<[usize; 3]> {
        let (&[a0, a1], &[b0, b1]) = (a, b) else {
            return None;
        };
        let (m, k) = if self.a_turned { (a1, a0) } else { (a0, a1) };
        let (n, depth) = if self.b_turned { (b0, b1) } else { (b1, b0) };
        (k == depth).then_some([m, n, k])
    }
}

impl Op for Product {
    fn name(&self) -> &'static str {
        "dense"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match self.sizes(inputs[0], inputs[1]) {
            Some([m, n, _]) => Ok(vec![m, n]),
            None => Err(format!(
                "{:?}{} by {:?}{}",
                inputs[0],
                if self.a_turned { " turned" } else { "" },
                inputs[1],
                if self.b_turned { " turned" } else { "" },
            )),
        }
    }

    fn macs(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        let sizes = self.sizes(inputs[0], inputs[1]);
        sizes.map_or(0, |s| s.iter().product::<usize>() as u64)
    }

    fn vjp<'g>(&self, at: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let (a, b, dy) = (at.inputs[0], at.inputs[1], at.grad);
        // dA = dy · Bᵀ, dB = Aᵀ · dy, each as it is stored.
        let da = match self.a_turned {
            false => Self::of(dy, false, b, !self.b_turned),
            true => Self::of(b, self.b_turned, dy, true),
        };
        let db = match self.b_turned {
            false => Self::of(a, !self.a_turned, dy, false),
            true => Self::of(dy, true, a, self.a_turned),
        };
        Some(vec![Some(da), Some(db)])
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let shapes = [0, 1].map(|i| lower.layout(i).shape.clone());
        let Some([m, n, k]) = self.sizes(&shapes[0], &shapes[1]) else {
            return Ok(false);
        };
        let (a, b) = (lower.contiguous(0)?, lower.contiguous(1)?);
        let product = dense::Product {
            m,
            n,
            k,
            a_turned: self.a_turned,
            b_turned: self.b_turned,
        };
        let tile = match lower.weights {
            Format::F16 => dense_coop::choose(&product, lower.caps),
            _ => None,
        };
        // Slices are put beside each other and added up.
        let mut into = |slices: usize| match slices {
            1 => lower.output,
            _ => lower.memory.scratch_as(DType::F32, slices * m * n),
        };
        let (dispatches, slices, y) = match (tile, lower.caps.lanes()) {
            (Some(tile), _) => {
                let y = into(tile.slices);
                let binds = dense_coop::Binds { a, b, y };
                let d = dense_coop::dispatches(product, tile, binds, lower.caps);
                (d, tile.slices, y)
            }
            (None, Some(lanes)) => {
                let y = lower.output;
                let binds = dense_lanes::Binds { a, b, y };
                let d = dense_lanes::dispatch(product, binds, lanes, lower.caps);
                (vec![d], 1, y)
            }
            (None, None) => {
                let tile = dense::choose(&product, lower.caps);
                let y = into(tile.slices);
                let binds = dense::Binds { a, b, y };
                let d = dense::dispatches(product, tile, binds, lower.caps);
                (d, tile.slices, y)
            }
        };
        dispatches.into_iter().for_each(|d| lower.memory.push(d));
        if slices > 1 {
            let binds = columns::Binds {
                x: y,
                y: lower.output,
            };
            let d = columns::dispatch([slices, m * n], 1.0, false, binds, lower.caps);
            lower.memory.push(d);
        }
        Ok(true)
    }

    fn dtype(&self) -> Option<DType> {
        Some(DType::F32)
    }
}

impl<'g> Value<'g> {
    /// x · weightᵀ + bias: [rows, in] with `weight` [out, in] and `bias` [out] gives [rows, out], all f32.
    #[track_caller]
    pub fn dense(self, weight: Value<'g>, bias: Option<Value<'g>>) -> Self {
        let y = Product::of(self, false, weight, true);
        match bias {
            Some(bias) => y + bias.reshape(&[1, bias.shape().iter().product()]),
            None => y,
        }
    }
}
