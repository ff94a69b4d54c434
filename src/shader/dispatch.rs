//! One run of one kernel, as data: what a plan is a list of.

use super::{Caps, KernelSpec, Variant};

/// What a dispatch spends its time on, for the share that reshapes and elementwise work take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    Reshape,
    Elementwise,
    Reduce,
    Depthwise,
    Convolution,
    Matmul,
    Attention,
    Sample,
}

impl Category {
    pub const ALL: [Category; 8] = [
        Category::Reshape,
        Category::Elementwise,
        Category::Reduce,
        Category::Depthwise,
        Category::Convolution,
        Category::Matmul,
        Category::Attention,
        Category::Sample,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Category::Reshape => "reshape",
            Category::Elementwise => "elementwise",
            Category::Reduce => "reduce",
            Category::Depthwise => "depthwise",
            Category::Convolution => "convolution",
            Category::Matmul => "matmul",
            Category::Attention => "attention",
            Category::Sample => "sample",
        }
    }
}

/// What a dispatch must at least do: each operand moved once, and its multiply-adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub read_bytes: u64,
    pub write_bytes: u64,
    /// Multiply-adds (one FLOP each for the multiply and the add).
    pub macs: u64,
}

/// What a binding of a kernel is bound to, while an op is lowered: a buffer, by its number in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Arg(pub usize);

/// One run of one kernel.
#[derive(Clone, Debug)]
pub struct Dispatch {
    pub kernel: &'static KernelSpec,
    pub variant: Variant,
    /// The kernel's `Params`, as bytes.
    pub params: Vec<u8>,
    /// For each binding of the kernel, in its order.
    pub args: Vec<Arg>,
    /// Workgroups.
    pub grid: [u32; 3],
    pub category: Category,
    pub cost: Cost,
}

impl Dispatch {
    /// The kernel's stem and the variant: the pipeline's label.
    pub fn label(&self) -> String {
        format!("{}{}", self.kernel.stem(), self.variant)
    }
}

/// `groups` workgroups as a grid that stays within the adapter's limit in each dimension. The kernel takes
/// its number as `workgroup_id.x + workgroup_id.y * num_workgroups.x` and returns where that is not below its
/// count.
pub fn fold_grid(groups: u64, caps: &Caps) -> [u32; 3] {
    let limit = u64::from(caps.max_groups);
    if groups <= limit {
        return [groups.max(1) as u32, 1, 1];
    }
    let rows = groups.div_ceil(limit);
    let columns = groups.div_ceil(rows);
    [columns as u32, u32::try_from(rows).unwrap_or(u32::MAX), 1]
}
