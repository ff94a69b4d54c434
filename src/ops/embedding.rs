//! Rows of a table, by the ids of tokens.

use super::project::pieces;
use crate::error::Result;
use crate::graph::{Graph, Lower, Op, Value, Weight};
use crate::kernels::embedding::gather;
use crate::tensor::DType;

#[derive(Debug)]
struct Embedding {
    rows: usize,
}

impl Op for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match inputs[0] {
            [_, width] => Ok(vec![self.rows, *width]),
            other => Err(format!("a table [vocabulary, width], not {other:?}")),
        }
    }

    fn dtype(&self) -> Option<DType> {
        Some(DType::F32)
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let [vocabulary, width] = [lower.shape_of(0, 0), lower.shape_of(0, 1)];
        let (history, start) = (lower.strided(1)?.0, lower.strided(2)?.0);
        for piece in pieces(lower, 0)? {
            let binds = gather::Binds {
                history,
                start,
                w: piece.w,
                scales: piece.scales.unwrap_or(piece.w),
                y: lower.output,
            };
            let table = gather::Table {
                format: lower.format(0),
                width,
                vocabulary,
                first: piece.rows.start,
                rows: piece.rows.len(),
            };
            let d = gather::dispatch(self.rows, &table, binds, lower.caps);
            lower.memory.push(d);
        }
        Ok(true)
    }
}

impl Graph {
    /// The rows of `table` [vocabulary, width] of the `rows` tokens of `history` from position `start` [1] on:
    /// f32 [rows, width].
    #[track_caller]
    pub fn embedding<'g>(
        &'g self,
        table: &Weight,
        history: Value<'g>,
        start: Value<'g>,
        rows: usize,
    ) -> Value<'g> {
        self.apply(Embedding { rows }, &[self.weight(table), history, start])
    }
}
