//! What gradients are made with: a rule's view of its op, and the graph looked at from behind.

use super::{Graph, Id, Kind, Node, Value};
use std::collections::HashMap;
use std::ops::Range;

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

/// Ends a segment of the graph when dropped.
pub struct Segment<'g>(&'g Graph, Id);

impl Drop for Segment<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.inner.borrow_mut();
        let end = inner.nodes.len();
        inner.segments.push(self.1..end);
    }
}

impl Graph {
    /// What is written until the segment is dropped is computed a second time for gradients, so that of all that is
    /// computed only what leaves the segment is kept (Chen et al., "Training Deep Nets with Sublinear Memory Cost",
    /// arXiv 1604.06174). Segments do not overlap.
    #[must_use]
    pub fn segment(&self) -> Segment<'_> {
        Segment(self, self.len())
    }

    /// The segment that value number `id` was written in.
    pub(crate) fn segment_of(&self, id: Id) -> Option<Range<Id>> {
        let inner = self.inner.borrow();
        inner.segments.iter().find(|s| s.contains(&id)).cloned()
    }

    /// Writes `segment` once more, to be computed after `then` is: the new number of each of its values. `late` wraps
    /// a value from before the segment so that it waits for `then`.
    pub(crate) fn again<'g>(
        &'g self,
        segment: Range<Id>,
        late: impl Fn(Value<'g>) -> Value<'g>,
    ) -> HashMap<Id, Id> {
        let leaf = |kind: &Kind| matches!(kind, Kind::Input(_) | Kind::Weight(_) | Kind::State(..));
        // What comes from outside and is computed there.
        let mut new = HashMap::new();
        let nodes: Vec<Node> = segment.clone().map(|id| self.node(id)).collect();
        for node in &nodes {
            let from: Vec<Id> = match &node.kind {
                Kind::View(of, _) | Kind::More(of, ..) => vec![*of],
                Kind::Op(_, inputs) => inputs.clone(),
                Kind::Fused { inputs, .. } => inputs.clone(),
                _ => Vec::new(),
            };
            for id in from {
                if id < segment.start && !leaf(&self.node(id).kind) && !new.contains_key(&id) {
                    new.insert(id, late(self.value(id)).id);
                }
            }
        }
        let moved = |new: &HashMap<Id, Id>, id: &Id| new.get(id).copied().unwrap_or(*id);
        // Nodes keep their places among each other, leaves included, so that regions can be moved.
        let start = self.len();
        for (id, node) in segment.clone().zip(nodes) {
            let at = |id: &Id| moved(&new, id);
            let kind = match node.kind {
                Kind::View(of, view) => Kind::View(at(&of), view),
                Kind::More(of, which, dtype) => Kind::More(at(&of), which, dtype),
                Kind::Op(op, inputs) => Kind::Op(op, inputs.iter().map(at).collect()),
                Kind::Fused {
                    op,
                    inputs,
                    plain,
                    region,
                } => Kind::Fused {
                    op,
                    inputs: inputs.iter().map(at).collect(),
                    plain: at(&plain),
                    region: region.start - segment.start + start
                        ..region.end - segment.start + start,
                },
                leaf => leaf,
            };
            let is_leaf = leaf(&kind);
            let mut inner = self.inner.borrow_mut();
            inner.nodes.push(Node { kind, ..node });
            // A leaf stays the one that it is.
            let number = inner.nodes.len() - 1;
            new.insert(id, if is_leaf { id } else { number });
        }
        new
    }

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
