//! A model's weights, from whichever kind of file.

use super::gguf::Gguf;
use super::shards::Shards;
use crate::error::{Error, Result};
use crate::tensor::quant::dequantize;
use crate::tensor::{Format, Tensor};
use std::path::Path;

/// The values of a tensor as its file stores them.
#[derive(Clone, Debug)]
pub enum Values {
    /// Floats (or integers).
    Tensor(Tensor),
    /// Quantised blocks along the last dimension, `format.bytes(...)` of all elements.
    Blocks {
        /// [`Format::Q8_0`] or [`Format::Q4_0`].
        format: Format,
        shape: Vec<usize>,
        bytes: Vec<u8>,
    },
}

impl Values {
    pub fn shape(&self) -> &[usize] {
        match self {
            Values::Tensor(tensor) => tensor.shape(),
            Values::Blocks { shape, .. } => shape,
        }
    }

    /// The elements as f32 in row-major order.
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Values::Tensor(tensor) => tensor.to_f32(),
            Values::Blocks { format, bytes, .. } => dequantize(*format, bytes),
        }
    }
}

/// Named tensors under their published names, read one at a time.
#[derive(Debug)]
pub enum Weights {
    Safetensors(Shards),
    Gguf(Box<Gguf>),
}

impl Weights {
    /// The folder or the file that they are from.
    pub fn path(&self) -> &Path {
        match self {
            Weights::Safetensors(shards) => shards.path(),
            Weights::Gguf(file) => file.path(),
        }
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Weights::Safetensors(shards) => shards.names().collect(),
            Weights::Gguf(file) => file.names().collect(),
        }
    }

    /// Whether there is a tensor `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// The shape of tensor `name`.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        match self {
            Weights::Safetensors(shards) => shards.shape(name),
            Weights::Gguf(file) => file.shape(name),
        }
    }

    /// Reads tensor `name`. Errors as [`Shards::tensor`] and [`Gguf::values`].
    pub fn values(&self, name: &str) -> Result<Values> {
        match self {
            Weights::Safetensors(shards) => shards.tensor(name).map(Values::Tensor),
            Weights::Gguf(file) => file.values(name),
        }
    }

    /// Checks that each of `wanted` is there in its shape.
    ///
    /// # Errors
    /// [`Error::Weights`], one line that names the first few that are missing or misshapen.
    pub fn fit<'a>(&self, wanted: impl IntoIterator<Item = (&'a str, &'a [usize])>) -> Result<()> {
        let (mut missing, mut misshapen) = (Vec::new(), Vec::new());
        for (name, shape) in wanted {
            match self.shape(name) {
                None => missing.push(format!("`{name}`")),
                Some(found) if found != shape => {
                    misshapen.push(format!("`{name}` is {found:?}, not {shape:?}"));
                }
                Some(_) => {}
            }
        }
        let line = |what: &str, all: &[String]| {
            let more = match all.len().saturating_sub(4) {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            let shown = all.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
            (!all.is_empty()).then(|| format!("{what}: {shown}{more}"))
        };
        let lines = [line("missing", &missing), line("misshapen", &misshapen)];
        let lines: Vec<String> = lines.into_iter().flatten().collect();
        if lines.is_empty() {
            return Ok(());
        }
        Err(Error::Weights(format!(
            "{}: the weights do not fit the configuration; {}",
            self.path().display(),
            lines.join("; ")
        )))
    }
}
