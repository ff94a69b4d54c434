//! Where ops being lowered take their memory from: buffers of the plan, constants each once, copies and sums where a
//! kernel needs them.

use super::build::Builder;
use super::{Buffer, Role, Step};
use crate::error::Result;
use crate::graph::{Encode, Memory, Operand, Pack};
use crate::kernels::elementwise::copy;
use crate::kernels::reduce::mean;
use crate::shader::{Arg, Dispatch};
use crate::tensor::{DType, Layout};

/// A buffer in one part.
pub(super) fn sum_of(arg: Arg, layout: &Layout) -> Operand {
    Operand::Buffer {
        arg,
        layout: layout.clone(),
        parts: 1,
    }
}

impl Memory for Builder<'_> {
    fn scratch(&mut self, len: usize) -> Arg {
        self.scratch_as(self.options.dtype, len)
    }

    fn scratch_as(&mut self, dtype: DType, len: usize) -> Arg {
        self.buffer(&[len], Role::Slot(usize::MAX), dtype).0
    }

    fn constant(&mut self, packs: Vec<Pack>) -> Arg {
        self.constant_as(packs, Encode::Dense(self.options.dtype))
    }

    fn constant_as(&mut self, packs: Vec<Pack>, encode: Encode) -> Arg {
        let same =
            |b: &Buffer| matches!(&b.role, Role::Constant(p, e) if *p == packs && *e == encode);
        if let Some(at) = self.plan.buffers.iter().position(same) {
            return Arg(at);
        }
        let (dtype, len) = match encode {
            Encode::Dense(dtype) => (dtype, packs.iter().map(Pack::len).sum()),
            Encode::By { words, .. } => (DType::U32, words),
        };
        self.buffer(&[len], Role::Constant(packs, encode), dtype).0
    }

    fn contiguous(&mut self, operand: &Operand) -> Result<Arg> {
        match self.whole(operand)? {
            Operand::Buffer { arg, layout, .. } if layout.is_contiguous() && layout.offset == 0 => {
                Ok(arg)
            }
            Operand::Buffer { arg, layout, .. } => {
                let dtype = self.plan.buffers[arg.0].dtype;
                let (to, dense) = self.buffer(&layout.shape, Role::Slot(usize::MAX), dtype);
                let (x, y) = (layout.four()?, dense.four()?);
                let binds = copy::Binds { x: arg, y: to };
                let d = copy::dispatch(dtype, &x, &y, binds, self.caps);
                self.push(d);
                Ok(to)
            }
            Operand::Weight { weight, layout } => {
                Ok(self.constant(vec![Pack::new(&weight, &layout)]))
            }
        }
    }

    fn whole(&mut self, operand: &Operand) -> Result<Operand> {
        let (arg, layout, parts) = match operand {
            Operand::Buffer { arg, layout, parts } if *parts > 1 => (*arg, layout, *parts),
            _ => return Ok(operand.clone()),
        };
        if let Some(&sum) = self.sums.get(&arg) {
            return Ok(sum_of(sum, layout));
        }
        let len = self.plan.buffers[arg.0].len / parts;
        let dtype = self.plan.buffers[arg.0].dtype;
        let (sum, _) = self.buffer(&[len], Role::Slot(usize::MAX), dtype);
        let x = Layout::contiguous(&[1, parts, len]);
        let binds = mean::Binds { x: arg, y: sum };
        let d = mean::dispatch(dtype, &x, 1.0, binds, self.caps);
        self.push(d);
        self.sums.insert(arg, sum);
        Ok(sum_of(sum, layout))
    }

    fn push(&mut self, dispatch: Dispatch) {
        self.plan.steps.push(Step {
            dispatch,
            op: self.at.0,
            scope: self.at.1.clone(),
        });
    }
}
