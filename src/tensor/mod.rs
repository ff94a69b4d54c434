//! What a tensor is before any device sees it: an element type, a shape, a strided layout, an array on the host.

mod layout;
pub mod quant;

pub use layout::Layout;
pub use quant::Format;

use crate::error::{Error, Result};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Element types, of arrays on the host and of storage on a device.
///
/// A device stores `F32` and `F16`; `BF16` is a checkpoint's type, widened when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    F32,
    F16,
    BF16,
    I64,
    U32,
}

impl DType {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            DType::F32 | DType::U32 => 4,
            DType::F16 | DType::BF16 => 2,
            DType::I64 => 8,
        }
    }

    /// The name that messages and plans print, which is also WGSL's where WGSL has the type.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I64 => "i64",
            DType::U32 => "u32",
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The number of elements of a shape, or `None` where it overflows.
pub fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

/// A dense, row-major array on the host.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl Tensor {
    /// A tensor over `data`, little-endian elements in row-major order.
    ///
    /// # Errors
    /// [`Error::Tensor`] where `data` is not exactly the bytes of `shape`.
    pub fn new(dtype: DType, shape: &[usize], data: Vec<u8>) -> Result<Self> {
        let want = elements(shape).and_then(|n| n.checked_mul(dtype.bytes()));
        if want != Some(data.len()) {
            return Err(Error::Tensor(format!(
                "shape {shape:?} of {dtype} does not fit {} bytes of data",
                data.len()
            )));
        }
        Ok(Self {
            dtype,
            shape: shape.to_vec(),
            data,
        })
    }

    /// An f32 tensor over `values` in row-major order. Errors as [`Tensor::new`].
    pub fn from_f32(shape: &[usize], values: &[f32]) -> Result<Self> {
        Self::new(DType::F32, shape, bytemuck::cast_slice(values).to_vec())
    }

    /// A u32 tensor over `values` in row-major order. Errors as [`Tensor::new`].
    pub fn from_u32(shape: &[usize], values: &[u32]) -> Result<Self> {
        Self::new(DType::U32, shape, bytemuck::cast_slice(values).to_vec())
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.data.len() / self.dtype.bytes()
    }

    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The elements as f32 in row-major order: widened from f16 and bf16, rounded from integers.
    pub fn to_f32(&self) -> Vec<f32> {
        fn each<const N: usize>(data: &[u8], f: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            let (chunks, _) = data.as_chunks::<N>();
            chunks.iter().map(|&c| f(c)).collect()
        }
        match self.dtype {
            DType::F32 => each(&self.data, f32::from_le_bytes),
            DType::F16 => match bytemuck::try_cast_slice::<u8, f16>(&self.data) {
                Ok(halves) => {
                    let mut out = vec![0.0; halves.len()];
                    halves.convert_to_f32_slice(&mut out);
                    out
                }
                Err(_) => each(&self.data, |b| f16::from_le_bytes(b).to_f32()),
            },
            DType::BF16 => each(&self.data, |b| bf16::from_le_bytes(b).to_f32()),
            DType::I64 => each(&self.data, |b| i64::from_le_bytes(b) as f32),
            DType::U32 => each(&self.data, |b| u32::from_le_bytes(b) as f32),
        }
    }

    /// The elements of a u32 tensor in row-major order; of any other, as f32 and then as a cast rounds them.
    pub fn to_u32(&self) -> Vec<u32> {
        match self.dtype {
            DType::U32 => (self.data.as_chunks::<4>().0.iter())
                .map(|&b| u32::from_le_bytes(b))
                .collect(),
            _ => self.to_f32().into_iter().map(|v| v as u32).collect(),
        }
    }

    /// The same values stored as `dtype`, rounded to nearest even. Only floating types are converted to.
    ///
    /// # Errors
    /// [`Error::Tensor`] where `dtype` is not a floating type.
    pub fn cast(&self, dtype: DType) -> Result<Self> {
        if dtype == self.dtype {
            return Ok(self.clone());
        }
        let values = self.to_f32();
        let data = match dtype {
            DType::F32 => bytemuck::cast_slice(&values).to_vec(),
            DType::F16 => encode_f16(&values),
            DType::BF16 => values
                .iter()
                .flat_map(|&v| bf16::from_f32(v).to_le_bytes())
                .collect(),
            DType::I64 | DType::U32 => {
                return Err(Error::Tensor(format!(
                    "{} cannot be cast to {dtype}",
                    self.dtype
                )));
            }
        };
        Self::new(dtype, &self.shape, data)
    }
}

/// `values` as f16, rounded to nearest even, little-endian.
pub fn encode_f16(values: &[f32]) -> Vec<u8> {
    let mut out = vec![f16::ZERO; values.len()];
    out.convert_from_f32_slice(values);
    bytemuck::cast_slice(&out).to_vec()
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({} {:?})", self.dtype, self.shape)
    }
}
