//! Copies of states as a run of the device, which can be cut as any other.

use super::parts::Timed;
use crate::device::{Executable, Store};
use crate::error::{Error, Result};
use crate::graph::Source;
use crate::kernels::elementwise::copy;
use crate::plan::{Buffer, Plan, Role, Step};
use crate::shader::{Arg, Caps};
use crate::tensor::{DType, Layout};
use std::sync::Arc;

/// A run that copies each first state of f32 to the second, which is made where it is not there.
///
/// # Errors
/// [`Error::Usage`] where a first one is not there; [`Error::Device`] where memory is short.
pub(super) fn copies(store: &Store, caps: &Caps, pairs: &[[String; 2]]) -> Result<Arc<Timed>> {
    let mut plan = Plan {
        dtype: DType::F32,
        steps: Vec::new(),
        buffers: Vec::new(),
        slots: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    };
    for pair in pairs {
        let (dtype, len) = store.kind(&pair[0])?;
        let [x, y] = [0, 1].map(|i| {
            let role = Role::State(pair[i].clone());
            plan.buffers.push(Buffer { role, dtype, len });
            Arg(plan.buffers.len() - 1)
        });
        let all = Layout::contiguous(&[1, 1, 1, len]);
        plan.steps.push(Step {
            dispatch: copy::dispatch(dtype, &all, &all, copy::Binds { x, y }, caps),
            op: "copy",
            scope: pair[0].clone(),
        });
    }
    let none = |source: &Source| -> Result<Vec<f32>> {
        Err(Error::Plan(format!("`{}` is no state", source.name)))
    };
    let run = Executable::load_in(store, Arc::new(plan), &none)?;
    Ok(Arc::new(Timed::new(run)))
}
