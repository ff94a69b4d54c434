//! Rows of a table by their numbers, and the gradient of the table.

use crate::error::{Error, Result};
use crate::graph::{Backward, Lower, Op, Value};
use crate::kernels::embedding::{rows, scatter};
use crate::tensor::DType;

/// Inputs: the table [rows, width], the numbers u32 [n].
#[derive(Debug)]
struct RowsOf;

impl Op for RowsOf {
    fn name(&self) -> &'static str {
        "rows_of"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match (inputs[0], inputs[1]) {
            (&[_, width], &[n]) => Ok(vec![n, width]),
            (table, which) => Err(format!("table {table:?}, numbers {which:?}")),
        }
    }

    fn dtype(&self) -> Option<DType> {
        Some(DType::F32)
    }

    fn vjp<'g>(&self, at: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let op = Scatter {
            rows: at.inputs[0].dim(0),
        };
        let table = at.graph().apply(op, &[at.grad, at.inputs[1]]);
        Some(vec![Some(table), None])
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let [n, width] = [lower.shape[0], lower.shape[1]];
        let table = [by_fours(lower.shape_of(0, 0), width)?, width];
        let binds = rows::Binds {
            ids: lower.contiguous(1)?,
            table: lower.contiguous(0)?,
            y: lower.output,
        };
        lower
            .memory
            .push(rows::dispatch(n, table, binds, lower.caps));
        Ok(true)
    }
}

/// Inputs: values [n, width], the numbers u32 [n] of the rows that each is added to.
#[derive(Debug)]
struct Scatter {
    rows: usize,
}

impl Op for Scatter {
    fn name(&self) -> &'static str {
        "scatter"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match inputs[0] {
            &[_, width] => Ok(vec![self.rows, width]),
            other => Err(format!("values [n, width], not {other:?}")),
        }
    }

    fn dtype(&self) -> Option<DType> {
        Some(DType::F32)
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let (n, width) = (lower.shape_of(0, 0), lower.shape[1]);
        let table = [by_fours(self.rows, width)?, width];
        let binds = scatter::Binds {
            ids: lower.contiguous(1)?,
            dy: lower.contiguous(0)?,
            dtable: lower.output,
        };
        let d = scatter::dispatch(n, table, binds, lower.caps);
        lower.memory.push(d);
        Ok(true)
    }
}

/// `rows`, where rows of `width` come in fours.
fn by_fours(rows: usize, width: usize) -> Result<usize> {
    match width.is_multiple_of(4) {
        true => Ok(rows),
        false => Err(Error::Plan(format!(
            "tables train with a width that is a multiple of 4, not {width}"
        ))),
    }
}

impl<'g> Value<'g> {
    /// The rows of a table [rows, width] whose numbers `which` u32 [n] holds: f32 [n, width].
    #[track_caller]
    pub fn rows_of(self, which: Value<'g>) -> Self {
        self.graph().apply(RowsOf, &[self, which])
    }
}
