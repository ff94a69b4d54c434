//! A weight as a model names it, and how it is made from a checkpoint's tensors.

use crate::error::{Error, Result};
use crate::tensor::{DType, Layout, encode_f16};
use std::fmt;
use std::sync::Arc;

/// A tensor of a checkpoint that a weight is made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    pub name: String,
    pub shape: Vec<usize>,
    /// Whether it counts as a parameter: running statistics do not.
    pub trainable: bool,
}

type Build = dyn Fn(&[Vec<f32>]) -> Vec<f32> + Send + Sync;
type Unbuild = dyn Fn(&[f32]) -> Vec<Vec<f32>> + Send + Sync;

/// A constant of a model: a name, a shape, and how its values come from the tensors of a checkpoint
/// (read as they are, or folded together, as a batch norm is into its convolution).
#[derive(Clone)]
pub struct Weight {
    pub name: String,
    pub shape: Vec<usize>,
    pub sources: Vec<Source>,
    /// Stored as f32 where others are halves.
    pub exact: bool,
    build: Arc<Build>,
    /// From its values those of its sources, where that can be.
    unbuild: Option<Arc<Unbuild>>,
}

impl Weight {
    /// The tensor called `name`, as it is.
    pub fn plain(name: impl Into<String>, shape: &[usize]) -> Self {
        let name = name.into();
        let source = Source {
            name: name.clone(),
            shape: shape.to_vec(),
            trainable: true,
        };
        Self::made(name, shape, vec![source], |t| t[0].clone()).undone_by(|v| vec![v.to_vec()])
    }

    /// A weight of `shape` that `build` makes from the values of `sources`, in their order.
    pub fn made(
        name: impl Into<String>,
        shape: &[usize],
        sources: Vec<Source>,
        build: impl Fn(&[Vec<f32>]) -> Vec<f32> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            sources,
            exact: false,
            build: Arc::new(build),
            unbuild: None,
        }
    }

    /// The same, stored as f32 where a plan stores matrices as halves: for what a model depends on beyond their
    /// precision. Blocks of integers are what was asked for, and stay.
    #[must_use]
    pub fn exact(self) -> Self {
        Self {
            exact: true,
            ..self
        }
    }

    /// The same, with the inverse of its `build`: from its values, those of its sources. It can be trained then.
    #[must_use]
    pub fn undone_by(
        self,
        unbuild: impl Fn(&[f32]) -> Vec<Vec<f32>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            unbuild: Some(Arc::new(unbuild)),
            ..self
        }
    }

    /// The values of its sources, in their order, where its own are `values`.
    ///
    /// # Errors
    /// [`Error::Weights`] where it was folded of several tensors for good.
    pub fn published(&self, values: &[f32]) -> Result<Vec<Vec<f32>>> {
        match &self.unbuild {
            Some(unbuild) => Ok(unbuild(values)),
            None => Err(Error::Weights(format!(
                "`{}` cannot be saved: its tensors cannot be told from it",
                self.name
            ))),
        }
    }

    /// Its values in row-major order, read through `read`, which returns a tensor of the source's shape.
    ///
    /// # Errors
    /// What `read` returns, and [`Error::Weights`] where a value is not finite, naming the weight's sources.
    pub fn values(&self, read: &(dyn Fn(&Source) -> Result<Vec<f32>> + Sync)) -> Result<Vec<f32>> {
        let tensors = self.sources.iter().map(read).collect::<Result<Vec<_>>>()?;
        for (source, values) in self.sources.iter().zip(&tensors) {
            if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                return Err(Error::Weights(format!(
                    "tensor `{}` holds {} at element {at}; a model cannot run on it",
                    source.name, values[at]
                )));
            }
        }
        let values = (self.build)(&tensors);
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let names: Vec<_> = self.sources.iter().map(|s| s.name.as_str()).collect();
            return Err(Error::Weights(format!(
                "folding {} gives {} at element {at} of `{}`",
                names.join(", "),
                values[at],
                self.name
            )));
        }
        Ok(values)
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weight({} {:?})", self.name, self.shape)
    }
}

/// How a constant's values are stored.
#[derive(Clone, Copy, Debug)]
pub enum Encode {
    /// One after the other.
    Dense(DType),
    /// As `with` makes them from a matrix of `shape`: whole 32-bit words.
    By {
        /// What tells it from every other encoding.
        name: &'static str,
        words: usize,
        shape: [usize; 2],
        with: fn(&[f32], [usize; 2]) -> Vec<u8>,
    },
}

impl PartialEq for Encode {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Encode::Dense(a), Encode::Dense(b)) => a == b,
            (
                Encode::By { name, shape, .. },
                Encode::By {
                    name: other,
                    shape: of,
                    ..
                },
            ) => (name, shape) == (other, of),
            _ => false,
        }
    }
}

impl Encode {
    /// The bytes of `values`.
    pub fn bytes(&self, values: &[f32]) -> Vec<u8> {
        match self {
            Encode::Dense(DType::F16) => encode_f16(values),
            Encode::Dense(_) => bytemuck::cast_slice(values).to_vec(),
            Encode::By { shape, with, .. } => with(values, *shape),
        }
    }
}

/// A part of a constant: a view of a weight, zero-padded at the end of each dimension.
#[derive(Clone, Debug)]
pub struct Pack {
    pub weight: Weight,
    /// The view of the weight's values.
    pub layout: Layout,
    /// The shape it is padded to, no smaller than the view's in any dimension.
    pub padded: Vec<usize>,
    /// Zeros after it.
    pub tail: usize,
}

impl PartialEq for Pack {
    fn eq(&self, other: &Self) -> bool {
        self.weight.name == other.weight.name
            && self.layout == other.layout
            && self.padded == other.padded
            && self.tail == other.tail
    }
}

impl Pack {
    /// All of a view of a weight.
    pub fn new(weight: &Weight, layout: &Layout) -> Self {
        Self {
            weight: weight.clone(),
            layout: layout.clone(),
            padded: layout.shape.clone(),
            tail: 0,
        }
    }

    /// Elements, padding included.
    pub fn len(&self) -> usize {
        self.padded.iter().product::<usize>() + self.tail
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The packed elements, given the weight's values.
    pub fn fill(&self, values: &[f32]) -> Vec<f32> {
        if self.padded == self.layout.shape && self.tail == 0 {
            if self.layout.is_contiguous() {
                return values[self.layout.offset..][..self.layout.len()].to_vec();
            }
            return self.layout.indices().map(|i| values[i]).collect();
        }
        let mut out = vec![0.0; self.len()];
        let mut to = Layout::contiguous(&self.padded);
        to.shape.clone_from(&self.layout.shape);
        for (at, from) in to.indices().zip(self.layout.indices()) {
            out[at] = values[from];
        }
        out
    }
}
