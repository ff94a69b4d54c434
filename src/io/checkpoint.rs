//! Named tensors in a safetensors file.

use super::header::{self, Header, LENGTH_BYTES, quote};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};
use safetensors::Dtype as FileDType;
use safetensors::tensor::TensorInfo;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A safetensors file, whole in memory, its header checked.
///
/// The file is read, not mapped: under a map another process could change the bytes after they were checked.
pub struct Checkpoint {
    path: PathBuf,
    tensors: BTreeMap<String, TensorInfo>,
    metadata: BTreeMap<String, String>,
    /// The tensors' bytes, from `data_start` on.
    bytes: Vec<u8>,
    data_start: usize,
}

impl Checkpoint {
    /// Reads the file at `path`. Nothing larger than its header is allocated before that is checked against the
    /// length of the file.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read; [`Error::File`], one line, where it is no regular file or no
    /// sound safetensors file.
    pub fn open(path: &Path) -> Result<Self> {
        let about = || Error::io(path);
        // Asked before it is opened: opening a pipe would wait for its writer.
        let kind = std::fs::metadata(path).map_err(about())?;
        if !kind.is_file() {
            let found = if kind.is_dir() {
                "a folder; name the .safetensors file in it"
            } else {
                "neither a file nor a folder"
            };
            return Err(Error::file(
                path,
                format!("expected a safetensors file, found {found}"),
            ));
        }
        let mut file = File::open(path).map_err(about())?;
        let file_bytes = file.metadata().map_err(about())?.len();

        let mut start = Vec::new();
        (&mut file)
            .take(2 * LENGTH_BYTES as u64)
            .read_to_end(&mut start)
            .map_err(about())?;
        let header_bytes = header::header_bytes(&start, file_bytes).or_file(path)?;
        let data_bytes = file_bytes - LENGTH_BYTES as u64 - header_bytes as u64;

        let mut text = start.split_off(LENGTH_BYTES);
        let mut bytes = text.split_off(text.len().min(header_bytes));
        read_until(&mut file, &mut text, header_bytes as u64, path)?;
        let Header { tensors, metadata } = header::parse(&text, data_bytes).or_file(path)?;
        read_until(&mut file, &mut bytes, data_bytes, path)?;
        Ok(Self {
            path: path.to_path_buf(),
            tensors,
            metadata,
            bytes,
            data_start: 0,
        })
    }

    /// A checkpoint over the bytes of a safetensors file; `name` is what messages call it.
    ///
    /// # Errors
    /// [`Error::File`], one line, where the bytes are no sound safetensors file.
    pub fn from_bytes(name: impl Into<PathBuf>, bytes: Vec<u8>) -> Result<Self> {
        let path = name.into();
        let header_bytes = header::header_bytes(&bytes, bytes.len() as u64).or_file(&path)?;
        let data_start = LENGTH_BYTES + header_bytes;
        let data_bytes = (bytes.len() - data_start) as u64;
        let text = &bytes[LENGTH_BYTES..data_start];
        let Header { tensors, metadata } = header::parse(text, data_bytes).or_file(&path)?;
        Ok(Self {
            path,
            tensors,
            metadata,
            bytes,
            data_start,
        })
    }

    /// Where it was read from, or the name given to [`Checkpoint::from_bytes`].
    pub fn path(&self) -> &Path {
        &self.path
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

    /// A copy of tensor `name`: F32, F16, BF16, I64 and U32 as they are, F64 rounded to f32 (beyond its range to
    /// infinity), I32 widened to i64.
    ///
    /// # Errors
    /// [`Error::File`] where there is no such tensor, or its type is another.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let Some(info) = self.tensors.get(name) else {
            return Err(Error::file(
                &self.path,
                format!(
                    "has no tensor {} among its {}",
                    quote(name),
                    self.tensors.len()
                ),
            ));
        };
        let (from, to) = info.data_offsets;
        let data = &self.bytes[self.data_start + from..self.data_start + to];
        let (dtype, data) = match info.dtype {
            FileDType::F32 => (DType::F32, data.to_vec()),
            FileDType::F16 => (DType::F16, data.to_vec()),
            FileDType::BF16 => (DType::BF16, data.to_vec()),
            FileDType::I64 => (DType::I64, data.to_vec()),
            FileDType::U32 => (DType::U32, data.to_vec()),
            FileDType::F64 => {
                let (values, _) = data.as_chunks();
                let narrow = |&v: &[u8; 8]| (f64::from_le_bytes(v) as f32).to_le_bytes();
                (DType::F32, values.iter().flat_map(narrow).collect())
            }
            FileDType::I32 => {
                let (values, _) = data.as_chunks();
                let widen = |&v: &[u8; 4]| i64::from(i32::from_le_bytes(v)).to_le_bytes();
                (DType::I64, values.iter().flat_map(widen).collect())
            }
            other => {
                return Err(Error::file(
                    &self.path,
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
            self.path.display(),
            self.tensors.len()
        )
    }
}

/// Reads on until `buffer` has `bytes` bytes; an allocation that fails is an error, not an abort.
fn read_until(file: &mut File, buffer: &mut Vec<u8>, bytes: u64, path: &Path) -> Result<()> {
    let more = bytes.saturating_sub(buffer.len() as u64);
    let reserved = usize::try_from(more).is_ok_and(|n| buffer.try_reserve_exact(n).is_ok());
    if !reserved {
        return Err(Error::file(
            path,
            format!("its {bytes} bytes of tensors do not fit into memory"),
        ));
    }
    file.take(more)
        .read_to_end(buffer)
        .map_err(Error::io(path))?;
    if buffer.len() as u64 != bytes {
        return Err(Error::file(
            path,
            "the file became shorter while it was read; try again when nothing writes to it",
        ));
    }
    Ok(())
}

/// A line about a file, made an error that names the file.
trait OrFile<T> {
    fn or_file(self, path: &Path) -> Result<T>;
}

impl<T> OrFile<T> for Result<T, String> {
    fn or_file(self, path: &Path) -> Result<T> {
        self.map_err(|message| Error::file(path, message))
    }
}
