//! What an adapter offers, as plain data: a plan is made from it, and so needs no GPU.

use crate::tensor::DType;

/// A cooperative-matrix shape that an adapter multiplies: A[m, k] · B[k, n] + C[m, n], f16 into f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoopMatrix {
    pub m: u32,
    pub n: u32,
    pub k: u32,
}

/// What an adapter offers to kernels.
#[derive(Clone, Debug, PartialEq)]
pub struct Caps {
    /// Storage and arithmetic in f16.
    pub f16: bool,
    /// Subgroup operations, and the sizes that a subgroup may have (both 0 without).
    pub subgroups: bool,
    pub subgroup_min: u32,
    pub subgroup_max: u32,
    /// f16 matrices multiplied by a whole subgroup into f32, where the adapter has them.
    pub coop: Option<CoopMatrix>,
    /// Params as immediates (push constants) rather than as a uniform buffer.
    pub immediates: bool,
    pub max_workgroup_bytes: u32,
    pub max_invocations: u32,
    pub max_storage_buffers: u32,
    pub max_binding_bytes: u64,
    pub max_buffer_bytes: u64,
    pub max_groups: u32,
    /// Alignment of a binding's offset in a buffer, in bytes.
    pub offset_alignment: u32,
    /// Workgroups that keep the adapter busy: a guess by kind of device, as WebGPU does not say.
    pub parallel: u32,
    /// Whether the device is a processor, on which a subgroup's invocations are the lanes of its vectors.
    pub software: bool,
}

impl Caps {
    /// Whether kernels on matrix units run here in `elem`: f16 matrices of 16 × 16 × 16, by subgroups of 32.
    pub fn matrix_units(&self, elem: DType) -> bool {
        let square = (self.coop).is_some_and(|m| (m.m, m.n, m.k) == (16, 16, 16));
        square && elem == DType::F16 && self.subgroup_max == 32
    }

    /// Invocations of a subgroup where they are the lanes of a processor that hand values on to one another: kernels that
    /// count on it take the place of those for workgroups.
    pub fn lanes(&self) -> Option<u32> {
        let fixed = self.subgroups && self.subgroup_min == self.subgroup_max;
        let known = matches!(self.subgroup_max, 4 | 8 | 16);
        (self.software && fixed && known).then_some(self.subgroup_max)
    }
}

impl Default for Caps {
    /// What every WebGPU implementation offers to those who ask for nothing.
    fn default() -> Self {
        Self {
            f16: false,
            subgroups: false,
            subgroup_min: 0,
            subgroup_max: 0,
            coop: None,
            immediates: false,
            max_workgroup_bytes: 16 << 10,
            max_invocations: 256,
            max_storage_buffers: 8,
            max_binding_bytes: 128 << 20,
            max_buffer_bytes: 256 << 20,
            max_groups: 65_535,
            offset_alignment: 256,
            parallel: 16,
            software: false,
        }
    }
}
