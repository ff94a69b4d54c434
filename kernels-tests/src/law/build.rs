//! Plans over states, built by hand.

use cascadia::device::{Device, Executable, Store};
use cascadia::plan::{Buffer, Plan, Role, Step};
use cascadia::shader::{
    Access, Arg, Bind, Category, Cost, Dispatch, KernelSpec, Param, Variant, fold_grid,
};
use cascadia::tensor::DType;
use std::sync::Arc;

/// Rows of a table by the last two tokens.
static GATHER: KernelSpec = KernelSpec {
    path: "gather.wgsl",
    source: include_str!("../../shaders/gather.wgsl"),
    params: &[
        param("batch", 0),
        param("rows", 4),
        param("ahead", 8),
        param("stride", 12),
    ],
    binds: &[
        bind("table", Access::Read),
        bind("history", Access::Read),
        bind("start", Access::Read),
        bind("base", Access::Read),
        bind("p", Access::Write),
    ],
};

pub const fn param(name: &'static str, offset: u32) -> Param {
    Param {
        name,
        ty: "u32",
        offset,
    }
}

pub const fn bind(name: &'static str, access: Access) -> Bind {
    Bind { name, access }
}

pub(super) struct Builder {
    plan: Plan,
    device: Device,
}

impl Builder {
    pub(super) fn new(device: &Device) -> Self {
        Self {
            plan: Plan {
                dtype: DType::F32,
                steps: Vec::new(),
                buffers: Vec::new(),
                slots: Vec::new(),
                inputs: Vec::new(),
                outputs: Vec::new(),
            },
            device: device.clone(),
        }
    }

    pub(super) fn state(&mut self, name: &str, dtype: DType, len: usize) -> Arg {
        self.plan.buffers.push(Buffer {
            role: Role::State(name.into()),
            dtype,
            len,
        });
        Arg(self.plan.buffers.len() - 1)
    }

    pub(super) fn push(&mut self, dispatch: Dispatch) {
        self.plan.steps.push(Step {
            dispatch,
            op: "law",
            scope: String::new(),
        });
    }

    /// `sizes`: batch, rows, ahead, stride. `args`: table, history, start, base, p.
    /// Where there are as many slots as rows, row i goes to slot i.
    pub(super) fn gather(&mut self, vocab: usize, slots: usize, sizes: [usize; 4], args: [Arg; 5]) {
        let groups = (sizes[0] * sizes[1]).div_ceil(64);
        let dispatch = Dispatch {
            kernel: &GATHER,
            variant: Variant::new(DType::F32).set("V", vocab).set("SLOTS", slots),
            params: (sizes.iter().flat_map(|&s| (s as u32).to_le_bytes())).collect(),
            args: args.to_vec(),
            grid: fold_grid(groups as u64, self.device.caps()),
            category: Category::Sample,
            cost: Cost::default(),
        };
        self.push(dispatch);
    }

    pub(super) fn load(self, store: &Store) -> Executable {
        Executable::load_in(store, Arc::new(self.plan), &|_| unreachable!("no weights"))
            .unwrap_or_else(|e| panic!("{e}"))
    }
}
