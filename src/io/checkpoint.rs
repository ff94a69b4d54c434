//! Named tensors in a safetensors file.

use super::bytes::{Bytes, OrFile};
use super::header::{self, Header, LENGTH_BYTES, quote};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};
use safetensors::Dtype as FileDType;
use safetensors::tensor::TensorInfo;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A safetensors file, its header checked. Its tensors' bytes are read when they are asked for, so that a file
/// larger than memory can be read tensor by tensor.
pub struct Checkpoint {
    bytes: Bytes,
    tensors: BTreeMap<String, TensorInfo>,
    metadata: BTreeMap<String, String>,
    /// Where the tensors' bytes begin.
    data_start: u64,
}

impl Checkpoint {
    /// Opens the file at `path` and reads its header, which is checked against the length of the file.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read; [`Error::File`], one line, where it is no regular file or no
    /// sound safetensors file.
    pub fn open(path: &Path) -> Result<Self> {
        Self::over(Bytes::open(path, "a safetensors file", ".safetensors")?)
    }

    /// A checkpoint over the bytes of a safetensors file; `name` is what messages call it.
    ///
    /// # Errors
    /// [`Error::File`], one line, where the bytes are no sound safetensors file.
    pub fn from_bytes(name: impl Into<PathBuf>, bytes: Vec<u8>) -> Result<Self> {
        Self::over(Bytes::memory(name, bytes))
    }

    fn over(bytes: Bytes) -> Result<Self> {
        let start = bytes.read(0, bytes.len().min(2 * LENGTH_BYTES as u64))?;
        let header_bytes = header::header_bytes(&start, bytes.len()).or_file(bytes.path())? as u64;
        let text = bytes.read(LENGTH_BYTES as u64, header_bytes)?;
        let data_start = LENGTH_BYTES as u64 + header_bytes;
        let Header { tensors, metadata } =
            header::parse(&text, bytes.len() - data_start).or_file(bytes.path())?;
        Ok(Self {
            bytes,
            tensors,
            metadata,
            data_start,
        })
    }

    /// Where it was read from, or the name given to [`Checkpoint::from_bytes`].
    pub fn path(&self) -> &Path {
        self.bytes.path()
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape of tensor `name`.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|t| t.shape.as_slice())
    }

    /// The element type of tensor `name` in the file, which [`Checkpoint::tensor`] may convert or refuse.
    pub fn dtype(&self, name: &str) -> Option<FileDType> {
        self.tensors.get(name).map(|t| t.dtype)
    }

    /// The free text that the file carries, by key.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Reads tensor `name`: F32, F16, BF16, I64 and U32 as they are, F64 rounded to f32 (beyond its range to
    /// infinity), I32 widened to i64.
    ///
    /// # Errors
    /// [`Error::File`] where there is no such tensor, its type is another, or the file has become shorter;
    /// [`Error::Io`] where it cannot be read.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let Some(info) = self.tensors.get(name) else {
            return Err(Error::file(
                self.path(),
                format!(
                    "has no tensor {} among its {}",
                    quote(name),
                    self.tensors.len()
                ),
            ));
        };
        let (from, to) = info.data_offsets;
        let read = || (self.bytes).read(self.data_start + from as u64, (to - from) as u64);
        let (dtype, data) = match info.dtype {
            FileDType::F32 => (DType::F32, read()?),
            FileDType::F16 => (DType::F16, read()?),
            FileDType::BF16 => (DType::BF16, read()?),
            FileDType::I64 => (DType::I64, read()?),
            FileDType::U32 => (DType::U32, read()?),
            FileDType::F64 => {
                let data = read()?;
                let (values, _) = data.as_chunks();
                let narrow = |&v: &[u8; 8]| (f64::from_le_bytes(v) as f32).to_le_bytes();
                (DType::F32, values.iter().flat_map(narrow).collect())
            }
            FileDType::I32 => {
                let data = read()?;
                let (values, _) = data.as_chunks();
                let widen = |&v: &[u8; 4]| i64::from(i32::from_le_bytes(v)).to_le_bytes();
                (DType::I64, values.iter().flat_map(widen).collect())
            }
            other => {
                return Err(Error::file(
                    self.path(),
                    format!(
                        "tensor {} is of type {other}; supported are F32, F16, BF16, F64, I64, I32 and U32",
                        quote(name)
                    ),
                ));
            }
        };
        Tensor::new(dtype, &info.shape, data)
    }
}

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Checkpoint({}, {} tensors)",
            self.path().display(),
            self.tensors.len()
        )
    }
}
