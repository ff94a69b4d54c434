//! Gradients by reverse accumulation (Griewank and Walther, "Evaluating Derivatives", section 3.2): from a value back to
//! those that it was made of, each op by its own rule.

use crate::error::Result;
use crate::graph::{Backward, Graph, Id, Kind, Lower, Op, Value, View, Weight};
use crate::kernels::reduce::{columns, mean};
use crate::tensor::{DType, Layout};
use std::collections::{HashMap, HashSet};

/// A share of a value's gradient.
enum Share<'g> {
    Whole(Value<'g>),
    /// Of elements `start .. start + len` of a dimension alone.
    Part {
        axis: usize,
        start: usize,
        len: usize,
        grad: Value<'g>,
    },
}

impl Graph {
    /// The gradients of `loss`, a value of one element, by each of `wrt`, in their shapes. An op that has no rule, or a
    /// value that `loss` does not depend on, is the graph's error, with the line that wrote it.
    pub fn grad<'g>(&'g self, loss: Value<'g>, wrt: &[Value<'g>]) -> Vec<Value<'g>> {
        let name = format!("one {:?}", loss.shape());
        let one = Weight::made(name, &loss.shape(), Vec::new(), |_| vec![1.0]);
        if loss.shape().iter().product::<usize>() != 1 {
            self.fail_at(loss.id(), "grad", "a loss must be one number");
            return wrt.to_vec();
        }
        self.grad_from(&[(loss, self.weight(&one))], wrt)
    }

    /// As [`Graph::grad`], of values whose gradients are known.
    pub fn grad_from<'g>(
        &'g self,
        seeds: &[(Value<'g>, Value<'g>)],
        wrt: &[Value<'g>],
    ) -> Vec<Value<'g>> {
        let wanted: HashSet<Id> = wrt.iter().map(|v| v.id()).collect();
        let last = seeds.iter().map(|s| s.0.id()).max().unwrap_or(0);
        let depends = self.depending_on(&wanted, last);
        let mut shares: HashMap<Id, Vec<Share<'g>>> = HashMap::new();
        for (value, grad) in seeds {
            let of = shares.entry(value.id()).or_default();
            of.push(Share::Whole(*grad));
        }
        let (mut done, mut again) = (HashMap::new(), HashMap::new());
        for id in (0..=last).rev() {
            if !depends[id] {
                continue;
            }
            let Some(all) = shares.remove(&id) else {
                continue;
            };
            let node = self.node(id);
            let scope = format!("grad.{}", node.scope);
            let grad = self.scoped(&scope, || assemble(self.value(id), all));
            if wanted.contains(&id) {
                done.insert(id, grad);
            }
            let leaf = matches!(
                node.kind,
                Kind::Input(_) | Kind::Weight(_) | Kind::State(..)
            );
            if let (None, false, Some(segment)) = (again.get(&id), leaf, self.segment_of(id)) {
                // All of it waits for the gradient that comes in.
                again.extend(self.again(segment, |v| v.after(&[grad])));
            }
            for (to, share) in self.scoped(&scope, || self.back(id, grad, &depends, &again)) {
                shares.entry(to).or_default().push(share);
            }
        }
        let of = |v: &Value<'g>| match done.get(&v.id()) {
            Some(grad) => *grad,
            None => {
                self.fail_at(v.id(), "grad", "the loss does not depend on this value");
                *v
            }
        };
        wrt.iter().map(of).collect()
    }

    /// For each value up to `last`, whether it depends on one of `wanted`.
    fn depending_on(&self, wanted: &HashSet<Id>, last: Id) -> Vec<bool> {
        let mut depends = vec![false; last + 1];
        for id in 0..=last {
            depends[id] = wanted.contains(&id)
                || match &self.node(id).kind {
                    Kind::Input(_) | Kind::Weight(_) | Kind::State(..) => false,
                    Kind::View(of, _) | Kind::More(of, ..) => depends[*of],
                    Kind::Op(_, inputs) => inputs.iter().any(|&i| depends[i]),
                    Kind::Fused { plain, .. } => depends[*plain],
                };
        }
        depends
    }

    /// What value `id` hands on of its gradient to the values that it is made of.
    /// Values are those that `again` says, where they are computed once more.
    fn back<'g>(
        &'g self,
        id: Id,
        grad: Value<'g>,
        depends: &[bool],
        again: &HashMap<Id, Id>,
    ) -> Vec<(Id, Share<'g>)> {
        let now = |id: Id| self.value(again.get(&id).copied().unwrap_or(id));
        match self.node(id).kind {
            Kind::Input(_) | Kind::Weight(_) | Kind::State(..) => Vec::new(),
            Kind::Fused { plain, .. } => vec![(plain, Share::Whole(grad))],
            Kind::More(..) => {
                self.fail_at(id, "grad", "a further result of an op has no gradient");
                Vec::new()
            }
            Kind::View(of, view) => vec![(of, unseen(view, self.value(of), grad))],
            Kind::Op(op, inputs) => {
                let further = (id + 1..self.len())
                    .take_while(|&i| matches!(self.node(i).kind, Kind::More(of, ..) if of == id))
                    .map(now)
                    .collect();
                let at = Backward {
                    inputs: inputs.iter().map(|&i| now(i)).collect(),
                    output: now(id),
                    more: further,
                    grad,
                };
                let Some(grads) = op.vjp(&at) else {
                    self.fail_at(id, op.name(), "has no gradient");
                    return Vec::new();
                };
                let mut out = Vec::new();
                for (&input, grad) in inputs.iter().zip(&grads) {
                    match grad {
                        _ if !depends[input] => {}
                        Some(grad) if grad.shape() == self.value(input).shape() => {
                            out.push((input, Share::Whole(*grad)));
                        }
                        Some(grad) => {
                            let message = format!("its gradient is {:?}", grad.shape());
                            self.fail_at(id, op.name(), &message);
                        }
                        None => self.fail_at(id, op.name(), "has no gradient by this input"),
                    }
                }
                out
            }
        }
    }
}

/// The gradient of `of`, given that of a view of it.
fn unseen<'g>(view: View, of: Value<'g>, grad: Value<'g>) -> Share<'g> {
    let shape = of.shape();
    match view {
        View::Reshape(_) => Share::Whole(grad.reshape(&shape)),
        View::Permute(axes) => {
            let mut back = vec![0; axes.len()];
            for (to, &from) in axes.iter().enumerate() {
                back[from] = to;
            }
            Share::Whole(grad.permute(&back))
        }
        View::Slice { axis, start, len } => Share::Part {
            axis,
            start,
            len,
            grad,
        },
        View::Broadcast(to) => {
            let mut grad = grad;
            for (axis, (&have, &repeated)) in shape.iter().zip(&to).enumerate() {
                if have != repeated {
                    grad = grad.sum(axis);
                }
            }
            Share::Whole(grad)
        }
    }
}

/// The gradient of `of` from its shares. Parts that do not overlap are put side by side, others added up.
fn assemble<'g>(of: Value<'g>, shares: Vec<Share<'g>>) -> Value<'g> {
    let mut whole = Vec::new();
    let mut parts: Vec<(usize, usize, usize, Value<'g>)> = Vec::new();
    for share in shares {
        match share {
            Share::Whole(grad) => whole.push(grad),
            Share::Part {
                axis,
                start,
                len,
                grad,
            } => parts.push((axis, start, len, grad)),
        }
    }
    parts.sort_by_key(|p| (p.0, p.1));
    while !parts.is_empty() {
        // As many as follow each other along one dimension.
        let (axis, mut end, mut rest, mut row) = (parts[0].0, 0, Vec::new(), Vec::new());
        for part in parts {
            if part.0 == axis && part.1 >= end {
                end = part.1 + part.2;
                row.push((part.1, part.2, part.3));
            } else {
                rest.push(part);
            }
        }
        whole.push(side_by_side(of, axis, &row));
        parts = rest;
    }
    let mut all = whole.into_iter();
    match all.next() {
        Some(first) => all.fold(first, |sum, grad| sum + grad),
        None => of,
    }
}

/// A value like `of` of the `parts` (start, length, value) along `axis`, zero where there is none.
fn side_by_side<'g>(of: Value<'g>, axis: usize, parts: &[(usize, usize, Value<'g>)]) -> Value<'g> {
    let (g, shape) = (of.graph(), of.shape());
    let last = shape.len() - 1;
    // Values are joined along the last dimension.
    let mut axes: Vec<usize> = (0..shape.len()).collect();
    axes.swap(axis, last);
    let zeros = |len: usize| {
        let mut shape = shape.clone();
        shape[axis] = len;
        let name = format!("zeros {shape:?}");
        let count = shape.iter().product();
        g.weight(&Weight::made(name, &shape, Vec::new(), move |_| {
            vec![0.0; count]
        }))
    };
    let (mut pieces, mut end) = (Vec::new(), 0);
    for &(start, len, grad) in parts {
        if start > end {
            pieces.push(zeros(start - end));
        }
        pieces.push(grad);
        end = start + len;
    }
    if end < shape[axis] {
        pieces.push(zeros(shape[axis] - end));
    }
    let turned: Vec<Value<'g>> = pieces.iter().map(|p| p.permute(&axes)).collect();
    match turned.split_first() {
        Some((only, [])) => *only,
        Some((first, others)) => first.concat(others),
        None => of,
    }
    .permute(&axes)
}

/// The sum along one dimension, which is then of size 1.
#[derive(Debug)]
struct Sum {
    axis: usize,
}

impl Op for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let mut shape = inputs[0].to_vec();
        match shape.get_mut(self.axis) {
            Some(size) => *size = 1,
            None => return Err(format!("dimension {} of {shape:?}", self.axis)),
        }
        Ok(shape)
    }

    fn vjp<'g>(&self, at: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        Some(vec![Some(at.grad.broadcast(&at.inputs[0].shape()))])
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let shape = lower.layout(0).shape.clone();
        let flat = [
            shape[..self.axis].iter().product(),
            shape[self.axis],
            shape[self.axis + 1..].iter().product(),
        ];
        let (x, y) = (lower.contiguous(0)?, lower.output);
        if flat[0] == 1 && lower.dtype == DType::F32 {
            let binds = columns::Binds { x, y };
            let d = columns::dispatch([flat[1], flat[2]], 1.0, false, binds, lower.caps);
            lower.memory.push(d);
            return Ok(true);
        }
        let binds = mean::Binds { x, y };
        let d = mean::dispatch(
            lower.dtype,
            &Layout::contiguous(&flat),
            1.0,
            binds,
            lower.caps,
        );
        lower.memory.push(d);
        Ok(true)
    }
}

/// A value, once others are computed, too.
#[derive(Debug)]
struct After;

impl Op for After {
    fn name(&self) -> &'static str {
        "after"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        Ok(inputs[0].to_vec())
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }

    fn vjp<'g>(&self, at: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let mut grads = vec![None; at.inputs.len()];
        grads[0] = Some(at.grad);
        Some(grads)
    }

    fn lower(&self, _: &mut Lower<'_>) -> Result<bool> {
        Ok(true)
    }
}

impl<'g> Value<'g> {
    /// It times a number.
    #[track_caller]
    pub fn times(self, factor: f32) -> Self {
        let rank = self.shape().len();
        let name = format!("{factor} {rank}");
        let one = Weight::made(name, &vec![1; rank], Vec::new(), move |_| vec![factor]);
        self * self.graph().weight(&one)
    }

    /// The sum along dimension `axis`, which is then of size 1.
    #[track_caller]
    pub fn sum(self, axis: usize) -> Self {
        self.graph().apply(Sum { axis }, &[self])
    }

    /// The same value, for an output that has `others`, changed states above all, computed before.
    #[track_caller]
    pub fn after(self, others: &[Value<'g>]) -> Self {
        let mut inputs = vec![self];
        inputs.extend(others);
        self.graph().apply(After, &inputs)
    }
}
