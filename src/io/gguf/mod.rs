//! GGUF files, versions 2 and 3, of Llama and Qwen2 models: tensors by their published names, the configuration and
//! the tokenizer as the JSON files of a published checkpoint say them.

mod config;
mod names;
mod read;
mod tokenizer;

pub use read::Meta;

use super::bytes::Bytes;
use super::header::quote;
use super::weights::Values;
use crate::error::{Error, Result};
use crate::tensor::{DType, Format, Tensor};
use read::{Info, Stored};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A GGUF file, its header checked; a tensor's bytes are read when it is asked for.
pub struct Gguf {
    bytes: Bytes,
    metadata: BTreeMap<String, Meta>,
    /// By published name; a tensor that the models do not have keeps the file's.
    tensors: BTreeMap<String, Info>,
    architecture: String,
    config: Value,
    head_dim: usize,
}

impl Gguf {
    /// Opens the file at `path` and reads its header.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read; [`Error::File`], one line, where it is no sound GGUF file, its
    /// architecture is neither `llama` nor `qwen2`, or a tensor is of a type that is not read.
    pub fn open(path: &Path) -> Result<Self> {
        Self::over(Bytes::open(path, "a GGUF file", ".gguf")?)
    }

    /// The same over bytes in memory; `name` is what messages call them. Errors as [`Gguf::open`].
    pub fn from_bytes(name: impl Into<PathBuf>, bytes: Vec<u8>) -> Result<Self> {
        Self::over(Bytes::memory(name, bytes))
    }

    fn over(bytes: Bytes) -> Result<Self> {
        let read::Header { metadata, tensors } = read::header(&bytes)?;
        let path = bytes.path();
        let architecture = match metadata.get("general.architecture") {
            Some(Meta::Text(name)) if ["llama", "qwen2"].contains(&name.as_str()) => name.clone(),
            other => {
                let found = other.map_or("none".to_string(), read::one);
                let message = format!("`general.architecture` is {found}; expected llama or qwen2");
                return Err(Error::file(path, message));
            }
        };
        for (key, what, most) in [
            (
                "split.count".to_string(),
                "a part of several files; merge them (llama-gguf-split --merge)",
                1,
            ),
            (
                format!("{architecture}.expert_count"),
                "a mixture of experts, which is not built",
                0,
            ),
        ] {
            let plain = match metadata.get(&key) {
                None => true,
                Some(Meta::Unsigned(n)) => *n <= most,
                Some(_) => false,
            };
            if !plain {
                return Err(Error::file(path, format!("is {what} (`{key}`)")));
            }
        }
        let factors = (tensors.get("rope_freqs.weight"))
            .map(|info| stored_tensor(&bytes, "rope_freqs.weight", info)?.cast(DType::F32))
            .transpose()?;
        let mut published = BTreeMap::new();
        for (name, info) in tensors {
            if name == "rope_freqs.weight" {
                continue;
            }
            let to = names::published(&name).unwrap_or(name);
            if published.insert(to.clone(), info).is_some() {
                let message = format!("tensor {} is there under two names", quote(&to));
                return Err(Error::file(path, message));
            }
        }
        let about = config::About {
            path,
            architecture: &architecture,
            metadata: &metadata,
            tensors: &published,
        };
        let (config, head_dim) = about.config(factors.map(|f| f.to_f32()))?;
        Ok(Self {
            bytes,
            metadata,
            tensors: published,
            architecture,
            config,
            head_dim,
        })
    }

    /// Where it was read from, or the name given to [`Gguf::from_bytes`].
    pub fn path(&self) -> &Path {
        self.bytes.path()
    }

    /// The metadata by the file's keys.
    pub fn metadata(&self) -> &BTreeMap<String, Meta> {
        &self.metadata
    }

    /// What config.json would say. Factors of `rope_freqs.weight`, which divide the rotary frequencies, are
    /// `rope_parameters` of `rope_type` `factors`.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// What tokenizer.json would say.
    ///
    /// # Errors
    /// [`Error::File`] where the metadata describes no tokenizer, or one that is not read.
    pub fn tokenizer(&self) -> Result<Value> {
        tokenizer::tokenizer(self.path(), &self.metadata)
    }

    /// What tokenizer_config.json would say: the chat template, and the tokens that begin, end and pad.
    pub fn tokenizer_config(&self) -> Value {
        tokenizer::tokenizer_config(&self.metadata)
    }

    /// The published names of all tensors, sorted.
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

    /// Reads tensor `name`: floats as they are stored, or blocks. The rows of q and k are in the published order.
    ///
    /// # Errors
    /// [`Error::File`] where there is no such tensor, its rows are no whole heads, or the file has become shorter;
    /// [`Error::Io`] where it cannot be read.
    pub fn values(&self, name: &str) -> Result<Values> {
        let Some(info) = self.tensors.get(name) else {
            let message = format!(
                "has no tensor {} among its {}",
                quote(name),
                self.tensors.len()
            );
            return Err(Error::file(self.path(), message));
        };
        let mut bytes = self.bytes.read(info.from, info.bytes)?;
        if names::reordered(&self.architecture, name) {
            let rows = info.shape.first().copied().unwrap_or_default();
            let blocks = info.shape.len() == 1 && info.stored.block().0 > 1;
            if rows == 0 || !rows.is_multiple_of(self.head_dim) || blocks {
                let message = format!(
                    "tensor {} has {rows} rows, no whole heads of {}",
                    quote(name),
                    self.head_dim
                );
                return Err(Error::file(self.path(), message));
            }
            bytes = names::restore(&bytes, bytes.len() / rows, self.head_dim);
        }
        values(info, bytes)
    }
}

fn values(info: &Info, bytes: Vec<u8>) -> Result<Values> {
    let dtype = match info.stored {
        Stored::F32 => DType::F32,
        Stored::F16 => DType::F16,
        Stored::BF16 => DType::BF16,
        Stored::Q8_0 | Stored::Q4_0 => {
            let format = match info.stored {
                Stored::Q8_0 => Format::Q8_0,
                _ => Format::Q4_0,
            };
            return Ok(Values::Blocks {
                format,
                shape: info.shape.clone(),
                bytes,
            });
        }
    };
    Ok(Values::Tensor(Tensor::new(dtype, &info.shape, bytes)?))
}

fn stored_tensor(file: &Bytes, name: &str, info: &Info) -> Result<Tensor> {
    match values(info, file.read(info.from, info.bytes)?)? {
        Values::Tensor(tensor) => Ok(tensor),
        Values::Blocks { .. } => {
            let message = format!("tensor {} is quantised; expected floats", quote(name));
            Err(Error::file(file.path(), message))
        }
    }
}

impl std::fmt::Debug for Gguf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, tensors) = (self.path().display(), self.tensors.len());
        write!(f, "Gguf({path}, {}, {tensors} tensors)", self.architecture)
    }
}
