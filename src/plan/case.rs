//! A kernel's case as a plan of one dispatch, for tests and benches.

use super::{Buffer, Plan, Port, Role, Step};
use crate::shader::{Array, Case};
use crate::tensor::{DType, Layout};

impl Plan {
    /// A plan of one dispatch, whose inputs and outputs are the case's arrays in their order.
    pub fn of_case(case: &Case) -> Self {
        let elem = case.elem();
        let mut plan = Plan {
            dtype: elem,
            steps: vec![Step {
                dispatch: case.dispatch.clone(),
                op: "case",
                scope: case.name.clone(),
            }],
            buffers: Vec::new(),
            slots: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        for (i, (array, bind)) in case
            .arrays
            .iter()
            .zip(case.dispatch.kernel.binds)
            .enumerate()
        {
            let dtype = match array {
                Array::F32(_) => DType::F32,
                _ => elem,
            };
            let port = Port {
                name: bind.name.into(),
                buffer: i,
                layout: Layout::contiguous(&[array.len()]),
            };
            let role = if let Array::Out(n) = array {
                plan.slots.push((n * dtype.bytes()) as u64);
                plan.outputs.push(port);
                Role::Slot(plan.slots.len() - 1)
            } else {
                plan.inputs.push(port);
                Role::Input
            };
            plan.buffers.push(Buffer {
                role,
                dtype,
                len: array.len(),
            });
        }
        plan
    }
}
