//! What is to be computed: values with shapes, the ops between them, and the line of the model that wrote each.
//!
//! A model writes into a [`Graph`]; shapes are inferred as it is written, and the first error is kept and
//! returned by [`Graph::finish`]. A graph needs no GPU and knows no kernel.

mod backward;
mod count;
mod op;
mod value;
mod weight;

pub use backward::{Backward, Segment};
pub use op::{Activation, Epilogue, Lower, Memory, Op, Operand};
pub use value::Value;
pub use weight::{Encode, Pack, Source, Weight};

use crate::error::{Error, Result};
use crate::tensor::{DType, Layout, elements};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Display;
use std::ops::Range;
use std::panic::Location;
use std::sync::Arc;

/// The number of a node in its graph.
pub type Id = usize;

/// A graph being written.
#[derive(Default)]
pub struct Graph {
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    nodes: Vec<Node>,
    weights: HashMap<(String, bool), Id>,
    states: HashMap<String, Id>,
    scope: Vec<String>,
    segments: Vec<Range<Id>>,
    error: Option<Error>,
    outputs: Vec<(String, Id)>,
}

/// A finished graph.
#[derive(Debug)]
pub struct Finished {
    pub nodes: Vec<Node>,
    /// What is computed, by name.
    pub outputs: Vec<(String, Id)>,
}

/// A value: where it comes from, its shape, and the scope of the model it was written in.
#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    pub shape: Vec<usize>,
    pub scope: String,
    /// The line that wrote it.
    pub at: &'static Location<'static>,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub enum Kind {
    Input(String),
    Weight(Weight),
    /// Memory that is kept from run to run, by name, of an element type that may differ from the plan's.
    State(String, DType),
    /// Other elements, or the same in another shape, of a value.
    View(Id, View),
    Op(Arc<dyn Op>, Vec<Id>),
    /// A further result of an op: number `.1` of [`Op::more`].
    More(Id, usize, DType),
    /// An op that stands for a part of the graph: `region`, whose result is `plain`.
    Fused {
        op: Arc<dyn Op>,
        inputs: Vec<Id>,
        plain: Id,
        region: Range<Id>,
    },
}

/// How a view looks at a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    Reshape(Vec<usize>),
    Permute(Vec<usize>),
    Slice {
        axis: usize,
        start: usize,
        len: usize,
    },
    Broadcast(Vec<usize>),
}

impl View {
    /// The layout of the view of `layout`; `None` where only a copy could do it (or nothing at all).
    pub fn of(&self, layout: &Layout) -> Option<Layout> {
        match self {
            View::Reshape(shape) => layout.reshape(shape),
            View::Permute(axes) => layout.permute(axes).ok(),
            View::Slice { axis, start, len } => layout.slice(*axis, *start, *len).ok(),
            View::Broadcast(shape) => layout.broadcast(shape),
        }
    }
}

/// Ends a scope of the graph when dropped.
pub struct Scope<'g>(&'g Graph);

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        self.0.inner.borrow_mut().scope.pop();
    }
}

impl Graph {
    pub fn new() -> Self {
        Self::default()
    }

    /// An input of the model, given at each run.
    #[track_caller]
    pub fn input(&self, name: &str, shape: &[usize]) -> Value<'_> {
        if elements(shape).is_none_or(|n| n == 0) {
            self.fail(
                "input",
                format!("`{name}` cannot have the shape {shape:?}"),
                Location::caller(),
            );
        }
        let at = Location::caller();
        self.push(Kind::Input(name.into()), shape.to_vec(), at)
    }

    /// A constant of the model; the same value for the same name.
    #[track_caller]
    pub fn weight(&self, weight: &Weight) -> Value<'_> {
        // One that a model takes both exactly and not is two constants.
        let key = (weight.name.clone(), weight.exact);
        let known = self.inner.borrow().weights.get(&key).copied();
        if let Some(id) = known {
            return Value { graph: self, id };
        }
        let at = Location::caller();
        let value = self.push(Kind::Weight(weight.clone()), weight.shape.clone(), at);
        let mut inner = self.inner.borrow_mut();
        inner.weights.insert(key, value.id);
        value
    }

    /// Memory that is kept from run to run; the same value for the same name. Ops that change it say so.
    #[track_caller]
    pub fn state(&self, name: impl Display, shape: &[usize], dtype: DType) -> Value<'_> {
        let name = name.to_string();
        let known = self.inner.borrow().states.get(&name).copied();
        if let Some(id) = known {
            return Value { graph: self, id };
        }
        let at = Location::caller();
        let value = self.push(Kind::State(name.clone(), dtype), shape.to_vec(), at);
        self.inner.borrow_mut().states.insert(name, value.id);
        value
    }

    /// Names the part of the model that is written until the scope is dropped.
    #[must_use]
    pub fn scope(&self, name: impl Display) -> Scope<'_> {
        self.inner.borrow_mut().scope.push(name.to_string());
        Scope(self)
    }

    /// Makes `value` an output called `name`.
    pub fn output(&self, name: impl Display, value: Value<'_>) {
        let mut inner = self.inner.borrow_mut();
        inner.outputs.push((name.to_string(), value.id));
    }

    /// The graph as written.
    ///
    /// # Errors
    /// The first [`Error::Shape`] of the model.
    pub fn finish(self) -> Result<Finished> {
        let inner = self.inner.into_inner();
        match inner.error {
            Some(e) => Err(e),
            None => Ok(Finished {
                nodes: inner.nodes,
                outputs: inner.outputs,
            }),
        }
    }

    fn push(&self, kind: Kind, shape: Vec<usize>, at: &'static Location<'static>) -> Value<'_> {
        let mut inner = self.inner.borrow_mut();
        let scope = inner.scope.join(".");
        inner.nodes.push(Node {
            kind,
            shape,
            scope,
            at,
        });
        Value {
            graph: self,
            id: inner.nodes.len() - 1,
        }
    }

    fn fail(&self, op: &'static str, message: String, at: &'static Location<'static>) {
        let mut inner = self.inner.borrow_mut();
        let scope = inner.scope.join(".");
        inner.error.get_or_insert(Error::Shape {
            op,
            message,
            at: at.to_string(),
            scope,
        });
    }

    fn shape(&self, id: Id) -> Vec<usize> {
        self.inner.borrow().nodes[id].shape.clone()
    }

    /// A value made by `op`. After an error its shape is that of the first input, so that the model can be
    /// written to its end.
    #[track_caller]
    pub fn apply<'g>(&'g self, op: impl Op + 'static, inputs: &[Value<'g>]) -> Value<'g> {
        let at = Location::caller();
        let shape = self.infer(&op, inputs, at);
        let inputs = inputs.iter().map(|v| v.id).collect();
        self.push(Kind::Op(Arc::new(op), inputs), shape, at)
    }

    /// As [`Graph::apply`], and the op's further results ([`Op::more`]).
    #[track_caller]
    pub fn apply_more<'g>(&'g self, op: impl Op + 'static, inputs: &[Value<'g>]) -> Vec<Value<'g>> {
        let at = Location::caller();
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|v| v.shape()).collect();
        let borrowed: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
        let failed = self.inner.borrow().error.is_some();
        let more = match failed || op.infer(&borrowed).is_err() {
            true => Vec::new(),
            false => op.more(&borrowed),
        };
        let first = self.apply(op, inputs);
        let further = (more.into_iter().enumerate())
            .map(|(k, (shape, dtype))| self.push(Kind::More(first.id, k, dtype), shape, at));
        let mut all = vec![first];
        all.extend(further);
        all
    }

    /// As [`Graph::apply`], for an `op` that computes the same as `plain` does with other ops. `plain` stays:
    /// as the oracle, as the gradient, and for adapters on which `op` does not fit.
    #[track_caller]
    pub fn fused<'g>(
        &'g self,
        op: impl Op + 'static,
        inputs: &[Value<'g>],
        plain: impl FnOnce() -> Value<'g>,
    ) -> Value<'g> {
        let at = Location::caller();
        let start = self.inner.borrow().nodes.len();
        let plain = plain();
        let region = start..self.inner.borrow().nodes.len();
        let shape = self.infer(&op, inputs, at);
        if shape != plain.shape() {
            let message = format!("{shape:?} fused, {:?} plain", plain.shape());
            self.fail(op.name(), message, at);
        }
        let inputs = inputs.iter().map(|v| v.id).collect();
        self.push(
            Kind::Fused {
                op: Arc::new(op),
                inputs,
                plain: plain.id,
                region,
            },
            shape,
            at,
        )
    }

    fn infer(
        &self,
        op: &dyn Op,
        inputs: &[Value<'_>],
        at: &'static Location<'static>,
    ) -> Vec<usize> {
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|v| v.shape()).collect();
        let borrowed: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
        match op.infer(&borrowed) {
            Ok(shape) if elements(&shape).is_some_and(|n| n > 0) => shape,
            Ok(shape) => {
                self.fail(
                    op.name(),
                    format!("the result would have the shape {shape:?}"),
                    at,
                );
                vec![1; shape.len()]
            }
            Err(message) => {
                self.fail(op.name(), message, at);
                shapes.into_iter().next().unwrap_or_default()
            }
        }
    }
}
