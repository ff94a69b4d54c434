//! Losses of distillation: what a draft's logits are worth beside the target's distribution, and their gradient, which
//! the same kernel makes.

use crate::error::Result;
use crate::graph::{Backward, Lower, Op, Value};
use crate::kernels::loss::distill::{self, Binds, Loss, Shape};
use crate::tensor::DType;

/// What logits are compared with.
#[derive(Clone, Copy)]
pub struct Taught<'g> {
    /// u32 [rows]: i at row i, and anything at or beyond the number of rows at those that do not count.
    pub rows: Value<'g>,
    /// f32 [any, vocabulary]: the target's probabilities.
    pub probs: Value<'g>,
    /// u32 [rows]: which of them belong to each row.
    pub targets: Value<'g>,
    /// u32 [rows]: tokens, where the loss takes them.
    pub labels: Value<'g>,
}

/// Inputs: logits, probabilities, rows, labels, targets. Results: the loss, the gradient of the logits.
#[derive(Debug)]
struct Distill {
    loss: Loss,
    temperature: f32,
    /// Of the gradient.
    scale: f32,
}

impl Op for Distill {
    fn name(&self) -> &'static str {
        "distill"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match (inputs[0], inputs[1], inputs[2]) {
            (&[rows, vocab], &[_, of], &[marks])
                if vocab == of && marks == rows && inputs[4] == [rows] =>
            {
                Ok(vec![rows])
            }
            _ => Err(format!(
                "logits {:?}, probabilities {:?}, rows {:?}",
                inputs[0], inputs[1], inputs[2]
            )),
        }
    }

    fn dtype(&self) -> Option<DType> {
        Some(DType::F32)
    }

    fn more(&self, inputs: &[&[usize]]) -> Vec<(Vec<usize>, DType)> {
        vec![(inputs[0].to_vec(), DType::F32)]
    }

    fn vjp<'g>(&self, at: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let dlogits = *at.more.first()?;
        let rows = dlogits.dim(0);
        let by_row = at.grad.reshape(&[rows, 1]);
        let share = by_row.times(1.0 / self.scale);
        Some(vec![Some(dlogits * share), None, None, None, None])
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let [rows, vocab] = [lower.shape_of(0, 0), lower.shape_of(0, 1)];
        let binds = Binds {
            logits: lower.contiguous(0)?,
            p: lower.contiguous(1)?,
            positions: lower.contiguous(2)?,
            labels: lower.contiguous(3)?,
            targets: lower.contiguous(4)?,
            loss: lower.output,
            dlogits: lower.more[0],
        };
        let shape = Shape {
            count: rows,
            rows,
            vocab,
            p_rows: lower.shape_of(1, 0),
        };
        let d = distill::dispatch(
            shape,
            self.loss,
            [self.temperature, self.scale],
            binds,
            lower.caps,
        );
        lower.memory.push(d);
        Ok(true)
    }
}

impl<'g> Value<'g> {
    /// The loss f32 [rows] of logits [rows, vocabulary], each divided by the number of rows that count, so that their
    /// sum is the mean; and the gradient of the logits by that sum, times `scale`.
    #[track_caller]
    pub fn distill(
        self,
        taught: &Taught<'g>,
        loss: Loss,
        temperature: f32,
        scale: f32,
    ) -> [Self; 2] {
        let op = Distill {
            loss,
            temperature,
            scale,
        };
        let Taught {
            rows,
            probs,
            targets,
            labels,
        } = *taught;
        let inputs = [self, probs, rows, labels, targets];
        let made = self.graph().apply_more(op, &inputs);
        // After an error there is no gradient.
        [made[0], made.get(1).copied().unwrap_or(self)]
    }
}
