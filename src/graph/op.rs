//! What an op is: its shape rule, its cost, and how it becomes dispatches.

use super::{Backward, Encode, Pack, Value, Weight};
use crate::error::{Error, Result};
use crate::shader::{Arg, Caps, Dispatch};
use crate::tensor::{DType, Format, Layout};
use std::fmt;

/// An elementwise function that a kernel can apply to what it is about to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    Relu,
    Sigmoid,
    Silu,
    /// GELU by the tanh approximation.
    Gelu,
}

impl Activation {
    pub const fn name(self) -> &'static str {
        match self {
            Activation::Relu => "relu",
            Activation::Sigmoid => "sigmoid",
            Activation::Silu => "silu",
            Activation::Gelu => "gelu",
        }
    }
}

/// Elementwise work that the planner asks an op to take with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    Activation(Activation),
    /// Of each pair of neighbours, the activation of the first times the second: half the last dimension is left.
    Gated(Activation),
    /// Adds one more input, of the output's shape, the last of the inputs.
    Residual,
}

/// An op. It is described by its own fields; its inputs are values of the graph.
pub trait Op: fmt::Debug + Send + Sync {
    /// torch's name for it.
    fn name(&self) -> &'static str;

    /// The shape of the result, or what is wrong with the inputs'.
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String>;

    /// The element type of the result; where `None`, that of the first input that is not a weight.
    fn dtype(&self) -> Option<DType> {
        None
    }

    /// Shapes and element types of further results, which [`Lower::more`] then holds the buffers of.
    fn more(&self, _inputs: &[&[usize]]) -> Vec<(Vec<usize>, DType)> {
        Vec::new()
    }

    /// The gradients of its inputs, in their order, given that of its result; `None` for an input that has none, as
    /// token ids. An op without a rule stops [`Graph::grad`](super::Graph::grad) with an error that names it.
    fn vjp<'g>(&self, _at: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        None
    }

    /// Multiply-adds of a plain computation.
    fn macs(&self, _inputs: &[&[usize]], _output: &[usize]) -> u64 {
        0
    }

    /// Pushes the dispatches that compute it; `false` where no kernel of this adapter does, which only a fused
    /// op, or one that took an epilogue along, may say.
    ///
    /// # Errors
    /// [`Error::Plan`] where it cannot be computed at all.
    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool>;

    /// Whether its kernels write the last dimension in fours: the result's rows are then that much apart.
    fn pads_channels(&self) -> bool {
        false
    }

    /// The input, a state, whose memory is the result's: an op that changes it.
    fn in_place(&self) -> Option<usize> {
        None
    }

    /// The elementwise work on its first input that it is, which the op before may take along.
    fn as_epilogue(&self) -> Option<Epilogue> {
        None
    }

    /// The op that also does `epilogue`, where it can.
    fn with_epilogue(&self, _epilogue: Epilogue) -> Option<std::sync::Arc<dyn Op>> {
        None
    }
}

/// An input of an op being lowered: a view of a buffer, or of a weight not yet laid out.
#[derive(Clone, Debug)]
pub enum Operand {
    Buffer {
        arg: Arg,
        layout: Layout,
        /// The value is the sum of as many parts, each laid out the same, one after the other; usually 1.
        parts: usize,
    },
    Weight {
        weight: Weight,
        layout: Layout,
    },
}

impl Operand {
    pub fn layout(&self) -> &Layout {
        match self {
            Operand::Buffer { layout, .. } | Operand::Weight { layout, .. } => layout,
        }
    }

    /// The same operand seen through another layout.
    #[must_use]
    pub fn seen_as(&self, layout: Layout) -> Self {
        let mut out = self.clone();
        match &mut out {
            Operand::Buffer { layout: l, .. } | Operand::Weight { layout: l, .. } => *l = layout,
        }
        out
    }
}

/// Where an op being lowered takes its memory from: the planner.
pub trait Memory {
    /// A buffer of `len` elements that lives as long as the op's dispatches need it.
    fn scratch(&mut self, len: usize) -> Arg;
    /// As [`Memory::scratch`], of another element type than the plan's.
    fn scratch_as(&mut self, dtype: DType, len: usize) -> Arg;
    /// A constant made of `packs`, one after the other, in the plan's element type.
    fn constant(&mut self, packs: Vec<Pack>) -> Arg;
    /// As [`Memory::constant`], stored as `encode` says.
    fn constant_as(&mut self, packs: Vec<Pack>, encode: Encode) -> Arg;
    /// `operand` in one part, in row-major order from offset 0: itself, or a copy, which the plan shows.
    fn contiguous(&mut self, operand: &Operand) -> Result<Arg>;
    /// `operand` in one part: itself, or the sum of its parts, which the plan shows.
    fn whole(&mut self, operand: &Operand) -> Result<Operand>;
    fn push(&mut self, dispatch: Dispatch);
}

/// An op being lowered: its operands, where its result goes, what the adapter offers.
pub struct Lower<'a> {
    pub caps: &'a Caps,
    /// The result's element type.
    pub dtype: DType,
    /// The plan's: of maps, caches and weights.
    pub elem: DType,
    /// The plan's of matrices of weights; [`Lower::format`] is an input's.
    pub weights: Format,
    pub inputs: Vec<Operand>,
    /// The result's buffer, in row-major order of `shape`.
    pub output: Arg,
    /// Buffers of its further results.
    pub more: Vec<Arg>,
    /// Another buffer that holds the result in so many parts, where the op sets it.
    pub in_parts: Option<(Arg, usize)>,
    pub shape: Vec<usize>,
    pub memory: &'a mut dyn Memory,
}

impl Lower<'_> {
    /// The layout of input `i`.
    pub fn layout(&self, i: usize) -> &Layout {
        self.inputs[i].layout()
    }

    /// Input `i` as it lies: its buffer, and its layout there. A weight is laid out in row-major order.
    pub fn strided(&mut self, i: usize) -> Result<(Arg, Layout)> {
        match self.memory.whole(&self.inputs[i])? {
            Operand::Buffer { arg, layout, .. } => Ok((arg, layout)),
            Operand::Weight { weight, layout } => {
                let arg = self.memory.constant(vec![Pack::new(&weight, &layout)]);
                Ok((arg, Layout::contiguous(&layout.shape)))
            }
        }
    }

    /// Input `i` in row-major order from offset 0, in as many parts as it comes in.
    pub fn parts(&mut self, i: usize) -> Result<(Arg, usize)> {
        match &self.inputs[i] {
            Operand::Buffer { arg, layout, parts }
                if layout.is_contiguous() && layout.offset == 0 =>
            {
                Ok((*arg, *parts))
            }
            _ => Ok((self.contiguous(i)?, 1)),
        }
    }

    /// Input `i` in row-major order from offset 0; copied there where it does not lie so.
    pub fn contiguous(&mut self, i: usize) -> Result<Arg> {
        match self.inputs[i].clone() {
            operand @ Operand::Buffer { .. } => self.memory.contiguous(&operand),
            Operand::Weight { .. } => Ok(self.strided(i)?.0),
        }
    }

    /// How input `i`, a matrix of weights, is stored where a kernel reads more than one format.
    pub fn format(&self, i: usize) -> Format {
        match (&self.inputs[i], self.weights) {
            (Operand::Weight { weight, .. }, Format::F16) if weight.exact => Format::F32,
            (_, weights) => weights,
        }
    }

    /// Input `i`, a weight, seen through `view` of its layout.
    ///
    /// # Errors
    /// [`Error::Plan`] where the input is not a weight, or has no such view.
    pub fn pack(&self, i: usize, view: impl FnOnce(&Layout) -> Option<Layout>) -> Result<Pack> {
        match &self.inputs[i] {
            Operand::Weight { weight, layout } => match view(layout) {
                Some(layout) => Ok(Pack::new(weight, &layout)),
                None => Err(Error::Plan(format!(
                    "weight `{}` {:?} cannot be laid out",
                    weight.name, layout.shape
                ))),
            },
            Operand::Buffer { .. } => Err(Error::Plan(format!(
                "input {i} must be a weight of the model"
            ))),
        }
    }

    /// Input `i`, a weight, as it is.
    pub fn pack_plain(&self, i: usize) -> Result<Pack> {
        self.pack(i, |l| Some(l.clone()))
    }

    /// Input `i`, a weight of any rank, as the matrix [all dimensions but the first, the first]: how kernels
    /// take [out, in…] weights.
    pub fn pack_transposed(&self, i: usize) -> Result<Pack> {
        self.pack(i, |l| {
            let out = *l.shape.first()?;
            l.reshape(&[out, l.len() / out])?.permute(&[1, 0]).ok()
        })
    }

    /// Input `i` as [`Lower::pack_transposed`] has it, [depth, columns], in blocks of 16 × 16 for matrix units: block
    /// after block along the columns, each with its columns one after the other. A subgroup's load of one is then
    /// 512 bytes in a row. Both sizes are multiples of 16.
    pub fn pack_blocks(&self, i: usize) -> Result<Pack> {
        self.pack(i, |l| {
            let out = *l.shape.first()?;
            let depth = l.len() / out;
            let blocks = l.reshape(&[out / 16, 16, depth / 16, 16])?;
            blocks.permute(&[2, 0, 1, 3]).ok()
        })
    }

    /// The constant f32 of inputs `which`, weights, one after the other.
    ///
    /// # Errors
    /// As [`Lower::pack`].
    pub fn constant_f32(&mut self, which: &[usize]) -> Result<Arg> {
        let packs = (which.iter())
            .map(|&i| self.pack_plain(i))
            .collect::<Result<Vec<_>>>()?;
        Ok(self.memory.constant_as(packs, Encode::Dense(DType::F32)))
    }

    /// The size of dimension `axis` of input `i`.
    pub fn shape_of(&self, i: usize, axis: usize) -> usize {
        self.layout(i).shape[axis]
    }

    /// The constants of inputs `i`, a weight [out, in…] taken as [in…, out], and `i + 1`, its bias.
    ///
    /// # Errors
    /// As [`Lower::pack`].
    pub fn product_weights(&mut self, i: usize) -> Result<(Arg, Arg)> {
        let (weight, bias) = (self.pack_transposed(i)?, self.pack_plain(i + 1)?);
        Ok((
            self.memory.constant(vec![weight]),
            self.memory.constant(vec![bias]),
        ))
    }
}
