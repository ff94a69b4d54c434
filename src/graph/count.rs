//! What a model has and does, counted from its graph as written: parameters and multiply-adds.

use super::{Finished, Id, Kind, Source};
use std::collections::BTreeSet;

impl Finished {
    /// The nodes that the outputs need, with fused ops taken as their plain parts, in the order written.
    pub fn plain_nodes(&self) -> Vec<Id> {
        let mut seen = vec![false; self.nodes.len()];
        let mut stack: Vec<Id> = self.outputs.iter().map(|o| o.1).collect();
        while let Some(id) = stack.pop() {
            if std::mem::replace(&mut seen[id], true) {
                continue;
            }
            match &self.nodes[id].kind {
                Kind::Input(_) | Kind::Weight(_) | Kind::State(..) => {}
                Kind::View(of, _) => stack.push(*of),
                Kind::Op(_, inputs) => stack.extend(inputs),
                Kind::Fused { plain, .. } => stack.push(*plain),
            }
        }
        (0..seen.len()).filter(|&i| seen[i]).collect()
    }

    /// The graph with one more output for each scope of the model, called by its name: the last value written there.
    #[must_use]
    pub fn with_scopes(mut self) -> Self {
        let mut inside = vec![false; self.nodes.len()];
        for node in &self.nodes {
            if let Kind::Fused { region, .. } = &node.kind {
                inside[region.clone()].fill(true);
            }
        }
        let mut last: Vec<(String, Id)> = Vec::new();
        for (id, node) in self.nodes.iter().enumerate() {
            let computed = matches!(node.kind, Kind::Op(..) | Kind::Fused { .. });
            if inside[id] || !computed || node.scope.is_empty() {
                continue;
            }
            match last.iter_mut().find(|l| l.0 == node.scope) {
                Some(known) => known.1 = id,
                None => last.push((node.scope.clone(), id)),
            }
        }
        self.outputs.splice(0..0, last);
        self
    }

    /// The checkpoint's tensors that the model reads.
    pub fn sources(&self) -> BTreeSet<Source> {
        (self.plain_nodes().into_iter())
            .filter_map(|id| match &self.nodes[id].kind {
                Kind::Weight(w) => Some(w.sources.clone()),
                _ => None,
            })
            .flatten()
            .collect()
    }

    /// Trainable parameters, before anything is folded.
    pub fn parameters(&self) -> u64 {
        (self.sources().iter())
            .filter(|s| s.trainable)
            .map(|s| s.shape.iter().product::<usize>() as u64)
            .sum()
    }

    /// Multiply-adds of one run.
    pub fn macs(&self) -> u64 {
        let shape = |id: Id| self.nodes[id].shape.as_slice();
        (self.plain_nodes().into_iter())
            .map(|id| match &self.nodes[id].kind {
                Kind::Op(op, inputs) => {
                    let inputs: Vec<&[usize]> = inputs.iter().map(|&i| shape(i)).collect();
                    op.macs(&inputs, shape(id))
                }
                _ => 0,
            })
            .sum()
    }
}
