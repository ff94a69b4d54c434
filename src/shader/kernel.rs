//! The declaration of a kernel: what the host knows of a shader, in one place, by the shader's own names.

use super::{Dispatch, Naive, Variant};
use crate::tensor::{DType, Tensor};

/// How a kernel uses a binding. `Write` is `read_write` in WGSL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// A storage binding, by its name in the shader.
#[derive(Clone, Copy, Debug)]
pub struct Bind {
    pub name: &'static str,
    pub access: Access,
}

/// A field of the shader's `Params`.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    pub name: &'static str,
    pub ty: &'static str,
    pub offset: u32,
}

/// What the host knows of a shader.
#[derive(Debug)]
pub struct KernelSpec {
    /// Its file below `shaders/`.
    pub path: &'static str,
    pub source: &'static str,
    pub params: &'static [Param],
    pub binds: &'static [Bind],
}

impl KernelSpec {
    /// The kernel's name everywhere: `<family>/<algorithm>`.
    pub fn stem(&self) -> &'static str {
        self.path.strip_suffix(".wgsl").unwrap_or(self.path)
    }
}

/// Types that a field of `Params` may have.
pub trait Scalar {
    const WGSL: &'static str;
}

impl Scalar for u32 {
    const WGSL: &'static str = "u32";
}

impl Scalar for f32 {
    const WGSL: &'static str = "f32";
}

/// The contents of one binding in a [`Case`].
#[derive(Clone, Debug)]
pub enum Array {
    /// An input, stored as the variant's element type.
    Elem(Vec<f32>),
    /// An input that is f32 whatever the variant.
    F32(Vec<f32>),
    /// An input of whole numbers: ids, positions, packed weights.
    U32(Vec<u32>),
    /// An output of this many elements of the variant's type.
    Out(usize),
    /// An output of this many elements of a type that is the same whatever the variant.
    OutAs(DType, usize),
    /// Whole numbers that the kernel reads and changes: an input and an output.
    Changed(Vec<u32>),
    /// f32 that the kernel reads and changes, whatever the variant: an input and an output.
    ChangedF32(Vec<f32>),
}

impl Array {
    pub fn len(&self) -> usize {
        match self {
            Array::Elem(v) | Array::F32(v) | Array::ChangedF32(v) => v.len(),
            Array::U32(v) | Array::Changed(v) => v.len(),
            Array::Out(n) | Array::OutAs(_, n) => *n,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type that a device stores it as, in a variant of `elem`.
    pub fn dtype(&self, elem: DType) -> DType {
        match self {
            Array::Elem(_) | Array::Out(_) => elem,
            Array::F32(_) | Array::ChangedF32(_) => DType::F32,
            Array::U32(_) | Array::Changed(_) => DType::U32,
            Array::OutAs(dtype, _) => *dtype,
        }
    }

    /// Whether the kernel writes it.
    pub fn is_output(&self) -> bool {
        matches!(
            self,
            Array::Out(_) | Array::OutAs(..) | Array::Changed(_) | Array::ChangedF32(_)
        )
    }

    /// What it holds before the kernel runs, as a tensor of one dimension; `None` for what is only written.
    pub fn contents(&self) -> Option<Tensor> {
        match self {
            Array::Elem(v) | Array::F32(v) | Array::ChangedF32(v) => {
                Tensor::from_f32(&[v.len()], v).ok()
            }
            Array::U32(v) | Array::Changed(v) => Tensor::from_u32(&[v.len()], v).ok(),
            Array::Out(_) | Array::OutAs(..) => None,
        }
    }
}

/// Inputs of a test and of a bench: one dispatch and what its bindings hold, in their order.
#[derive(Clone, Debug)]
pub struct Case {
    /// What distinguishes it, for the test's name.
    pub name: String,
    pub dispatch: Dispatch,
    pub arrays: Vec<Array>,
}

impl Case {
    pub fn elem(&self) -> DType {
        self.dispatch.variant.elem
    }

    pub fn variant(&self) -> &Variant {
        &self.dispatch.variant
    }

    /// The dispatch's params as the kernel's `Params`.
    pub fn params<P: bytemuck::AnyBitPattern>(&self) -> P {
        bytemuck::pod_read_unaligned(&self.dispatch.params)
    }

    /// The whole numbers in array `i`, for a reference: exact, whatever its number type.
    pub fn whole(&self, i: usize) -> &[u32] {
        match &self.arrays[i] {
            Array::U32(v) | Array::Changed(v) => v,
            _ => &[],
        }
    }
}

/// A reference's arguments and result: the bindings' contents in their order (outputs and whole numbers empty:
/// [`Case::whole`] has those), and the expected contents of each output in order, NaN where it stays unwritten.
pub type Reference<R> = fn(&Case, &[Vec<R>]) -> Vec<Vec<R>>;

/// A kernel's room as data: its declaration, its cases and its reference.
pub struct Kernel {
    pub spec: &'static KernelSpec,
    pub cases: fn() -> Vec<Case>,
    /// The truth.
    pub reference: Reference<f64>,
    /// The same, as a plain implementation in the kernel's precision would compute it.
    pub naive: Reference<Naive>,
}

/// `n` values in about [-1.7, 1.7) with variance 1, the same for a `seed` everywhere: inputs for cases.
pub fn noise(seed: u32, n: usize) -> Vec<f32> {
    let mut state = u64::from(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let unit = (state >> 40) as f32 / (1u32 << 24) as f32;
            (unit - 0.5) * 3.464
        })
        .collect()
}

/// Declares what the host knows of a shader, in the shader's own names and order:
///
/// ```ignore
/// kernel! {
///     "norm/rms_norm.wgsl",
///     params { cols: u32, eps: f32 },
///     binds { x: Read, weight: Read, y: Write },
/// }
/// ```
///
/// It makes `Params` (plain data, laid out as in WGSL), `Binds` (one [`Arg`](super::Arg) for each binding),
/// `SPEC`, and `KERNEL` from the module's own `cases` and `reference`.
#[macro_export]
macro_rules! kernel {
    ($path:literal, params { $($p:ident: $pt:ty),* $(,)? }, binds { $($b:ident: $acc:ident),* $(,)? } $(,)?) => {
        /// The shader's `Params`.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct Params {
            $(pub $p: $pt),*
        }

        /// What each binding is bound to.
        #[derive(Clone, Copy, Debug)]
        pub struct Binds {
            $(pub $b: $crate::shader::Arg),*
        }

        impl Binds {
            /// In the order of the bindings.
            pub fn args(self) -> Vec<$crate::shader::Arg> {
                vec![$(self.$b),*]
            }
        }

        pub static SPEC: $crate::shader::KernelSpec = $crate::shader::KernelSpec {
            path: $path,
            source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $path)),
            params: &[$($crate::shader::Param {
                name: stringify!($p),
                ty: <$pt as $crate::shader::Scalar>::WGSL,
                offset: std::mem::offset_of!(Params, $p) as u32,
            }),*],
            binds: &[$($crate::shader::Bind {
                name: stringify!($b),
                access: $crate::shader::Access::$acc,
            }),*],
        };

        pub static KERNEL: $crate::shader::Kernel = $crate::shader::Kernel {
            spec: &SPEC,
            cases,
            reference: reference::<f64>,
            naive: reference::<$crate::shader::Naive>,
        };
    };
}
