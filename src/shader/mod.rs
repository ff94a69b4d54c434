//! Turns one WGSL file and one [`Variant`] into one module, and says what the host knows of it.
//!
//! A shader varies in two ways only: the constants of its *variant block* are rewritten, and the functions
//! that it names with `//!use` come from one of several files with one signature. No `#if`, and no WGSL in a
//! Rust string.

mod caps;
mod compose;
mod dispatch;
mod kernel;
mod real;
mod unroll;

pub use caps::{Caps, CoopMatrix};
pub use compose::{Composed, ParamsIn, Target, compose};
pub use dispatch::{Arg, Category, Cost, Dispatch, fold_grid};
pub use kernel::{Access, Array, Bind, Case, Kernel, KernelSpec, Param, Reference, Scalar, noise};
pub use real::{Naive, Real};

use crate::tensor::DType;
use std::fmt;

/// The value of a constant in a variant block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Const {
    U32(u32),
    Bool(bool),
}

impl From<u32> for Const {
    fn from(v: u32) -> Self {
        Const::U32(v)
    }
}

impl From<usize> for Const {
    fn from(v: usize) -> Self {
        Const::U32(u32::try_from(v).unwrap_or(u32::MAX))
    }
}

impl From<bool> for Const {
    fn from(v: bool) -> Self {
        Const::Bool(v)
    }
}

impl fmt::Display for Const {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Const::U32(v) => write!(f, "{v}u"),
            Const::Bool(v) => write!(f, "{v}"),
        }
    }
}

/// One compile-time choice of a kernel: element type, constants of its variant block, chosen functions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// What `elem` is: `F32` or `F16`.
    pub elem: DType,
    /// Constants that differ from those written in the file.
    pub consts: Vec<(&'static str, Const)>,
    /// For each `//!use name` of the file, which `lib/name.<choice>.wgsl` implements it.
    pub choices: Vec<(&'static str, &'static str)>,
}

impl Variant {
    pub fn new(elem: DType) -> Self {
        Self {
            elem,
            consts: Vec::new(),
            choices: Vec::new(),
        }
    }

    /// Sets the constant `name` of the variant block.
    #[must_use]
    pub fn set(mut self, name: &'static str, value: impl Into<Const>) -> Self {
        self.consts.push((name, value.into()));
        self
    }

    /// Takes the functions of `//!use name` from `lib/name.<choice>.wgsl`.
    #[must_use]
    pub fn choose(mut self, name: &'static str, choice: &'static str) -> Self {
        self.choices.push((name, choice));
        self
    }

    /// The value of a u32 constant; 0 where the variant does not set it.
    pub fn u32(&self, name: &str) -> u32 {
        match self.consts.iter().find(|c| c.0 == name) {
            Some((_, Const::U32(v))) => *v,
            _ => 0,
        }
    }

    /// The value of a bool constant; false where the variant does not set it.
    pub fn bool(&self, name: &str) -> bool {
        (self.consts.iter()).any(|c| c.0 == name && c.1 == Const::Bool(true))
    }

    /// The choice made for `//!use name`, empty where none was.
    pub fn choice(&self, name: &str) -> &'static str {
        (self.choices.iter())
            .find(|c| c.0 == name)
            .map_or("", |c| c.1)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", self.elem)?;
        for (_, choice) in &self.choices {
            write!(f, " {choice}")?;
        }
        for (name, value) in &self.consts {
            match value {
                Const::U32(v) => write!(f, " {name}={v}")?,
                Const::Bool(true) => write!(f, " {name}")?,
                Const::Bool(false) => {}
            }
        }
        f.write_str("]")
    }
}
