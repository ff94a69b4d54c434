//! Every kernel, one file each beside its shader of the same stem. [`KERNELS`] is the one list of them; tests,
//! benches and tables are derived from it.

pub mod attention;
pub mod elementwise;

use crate::shader::Kernel;

/// Functions that kernels take by `//!use name`, in several implementations with one signature.
pub struct Lib {
    pub name: &'static str,
    pub choice: &'static str,
    /// Its file below `shaders/`.
    pub path: &'static str,
    pub source: &'static str,
}

macro_rules! libs {
    ($($name:literal: [$($choice:literal),* $(,)?]),* $(,)?) => {
        &[$($(Lib {
            name: $name,
            choice: $choice,
            path: concat!("lib/", $name, ".", $choice, ".wgsl"),
            source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/lib/", $name, ".", $choice, ".wgsl")),
        }),*),*]
    };
}

/// Every file of `shaders/lib/`.
pub static LIBS: &[Lib] = libs! {
    "binary": ["add", "mul"],
    "tile_matmul": ["scalar", "coop"],
};

/// Every kernel.
pub static KERNELS: &[&Kernel] = &[
    &attention::cascaded_group::KERNEL,
    &elementwise::binary::KERNEL,
];
