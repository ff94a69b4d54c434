//! Plans of one dispatch, for tests and benches: a kernel's case, or a step of another plan.

use super::{Buffer, Plan, Port, Role, Step};
use crate::kernels::elementwise::fill;
use crate::shader::{Access, Arg, Array, Caps, Case};
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

    /// Step `at` alone, its last dispatch. Before it come writes to what it writes, which it waits for, and to `flush`
    /// bytes that nobody reads: then no cache holds its operands.
    pub fn alone(&self, at: usize, flush: u64, caps: &Caps) -> Self {
        let step = &self.steps[at];
        let mut plan = Plan {
            dtype: self.dtype,
            steps: Vec::new(),
            buffers: Vec::new(),
            slots: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        // Buffers by their numbers in this plan; a kernel may read one by two bindings.
        let mut from: Vec<usize> = Vec::new();
        let mut dispatch = step.dispatch.clone();
        for arg in &mut dispatch.args {
            let known = from.iter().position(|&b| b == arg.0);
            *arg = Arg(known.unwrap_or_else(|| {
                from.push(arg.0);
                from.len() - 1
            }));
        }
        for &b in &from {
            let mut buffer = self.buffers[b].clone();
            match buffer.role {
                Role::Slot(_) => {
                    buffer.role = Role::Slot(plan.slots.len());
                    plan.slots.push(buffer.bytes());
                }
                Role::Input => {
                    plan.inputs
                        .extend((self.inputs.iter()).find(|p| p.buffer == b).map(|p| Port {
                            buffer: plan.buffers.len(),
                            ..p.clone()
                        }))
                }
                Role::Constant(..) | Role::State(_) => {}
            }
            plan.buffers.push(buffer);
        }
        let written = (dispatch.args.iter().zip(dispatch.kernel.binds))
            .find(|(arg, bind)| {
                let slot = matches!(plan.buffers[arg.0].role, Role::Slot(_));
                bind.access == Access::Write && slot
            })
            .map(|(arg, _)| (*arg, (plan.buffers[arg.0].bytes() / 4) as u32));
        plan.buffers.push(Buffer {
            role: Role::Slot(plan.slots.len()),
            dtype: DType::F32,
            len: (flush / 4) as usize,
        });
        plan.slots.push(flush);
        let rest = (Arg(from.len()), (flush / 4) as u32);
        for (y, n) in written.into_iter().chain([rest]).filter(|w| w.1 > 0) {
            plan.steps.push(Step {
                dispatch: fill::dispatch(n, 0.0, fill::Binds { y }, caps),
                op: "flush",
                scope: String::new(),
            });
        }
        plan.steps.push(Step {
            dispatch,
            ..step.clone()
        });
        plan
    }
}
