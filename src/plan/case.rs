//! A kernel's case as a plan of one dispatch, for tests and benches.

use super::{Buffer, Plan, Port, Role, Step};
use crate::shader::{Array, Case};
use crate::tensor::Layout;

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
            let dtype = array.dtype(elem);
            let port = Port {
                name: bind.name.into(),
                buffer: i,
                layout: Layout::contiguous(&[array.len()]),
            };
            if array.is_output() {
                plan.outputs.push(port.clone());
            }
            let role = match array {
                Array::Changed(_) | Array::ChangedF32(_) => {
                    plan.inputs.push(port);
                    Role::State(bind.name.into())
                }
                Array::Out(_) | Array::OutAs(..) => {
                    plan.slots.push((array.len() * dtype.bytes()) as u64);
                    Role::Slot(plan.slots.len() - 1)
                }
                _ => {
                    plan.inputs.push(port);
                    Role::Input
                }
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
