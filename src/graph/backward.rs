//! What gradients are made with: a rule's view of its op, and the graph looked at from behind.

use super::{Graph, Id, Node, Value};

/// An op whose gradient is asked for, as [`Op::vjp`](super::Op::vjp) sees it.
pub struct Backward<'g> {
    pub inputs: Vec<Value<'g>>,
    pub output: Value<'g>,
    /// Its further results.
    pub more: Vec<Value<'g>>,
    /// The gradient of `output`, of its shape.
    pub grad: Value<'g>,
}

impl<'g> Backward<'g> {
    pub fn graph(&self) -> &'g Graph {
        self.grad.graph
    }
}

impl<'g> Value<'g> {
    /// Its number in the graph.
    pub(crate) fn id(self) -> Id {
        self.id
    }
}

impl Graph {
    /// Value number `id`.
    pub(crate) fn value(&self, id: Id) -> Value<'_> {
        Value { graph: self, id }
    }

    /// What value number `id` is.
    pub(crate) fn node(&self, id: Id) -> Node {
        self.inner.borrow().nodes[id].clone()
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.inner.borrow().nodes.len()
    }

    /// Runs `write` in `scope` instead of the present one.
    pub(crate) fn scoped<T>(&self, scope: &str, write: impl FnOnce() -> T) -> T {
        let swap = |with| std::mem::replace(&mut self.inner.borrow_mut().scope, with);
        let before = swap(vec![scope.to_string()]);
        let made = write();
        swap(before);
        made
    }

    /// Keeps an error about value number `id`, in the line and the scope that wrote it.
    pub(crate) fn fail_at(&self, id: Id, op: &'static str, message: &str) {
        let mut inner = self.inner.borrow_mut();
        let node = &inner.nodes[id];
        let error = crate::Error::Shape {
            op,
            message: message.into(),
            at: node.at.to_string(),
            scope: node.scope.clone(),
        };
        inner.error.get_or_insert(error);
    }
}
