//! Which op takes the elementwise work after it along.

use super::build::Builder;
use crate::graph::{Epilogue, Finished, Id, Kind, Op};
use std::sync::Arc;

/// An op that takes elementwise work along: it, its inputs, and further ones.
type Host = (Arc<dyn Op>, Vec<Id>, Vec<Id>);

/// How many values are made from each value.
pub(super) fn uses(graph: &Finished) -> Vec<usize> {
    let mut uses = vec![0; graph.nodes.len()];
    for node in &graph.nodes {
        match &node.kind {
            Kind::Input(_) | Kind::Weight(_) | Kind::State(..) => {}
            Kind::View(of, _) => uses[*of] += 1,
            Kind::Op(_, inputs) => inputs.iter().for_each(|&i| uses[i] += 1),
            Kind::Fused { inputs, .. } => inputs.iter().for_each(|&i| uses[i] += 1),
        }
    }
    for (_, id) in &graph.outputs {
        uses[*id] += 1;
    }
    uses
}

impl Builder<'_> {
    /// For an elementwise op: the ops before it that may take it along, each with its inputs and further ones. A
    /// fused op comes before what it stands for.
    pub(super) fn hosts(&self, op: &Arc<dyn Op>, inputs: &[Id]) -> Vec<Host> {
        let Some(epilogue) = op.as_epilogue() else {
            return Vec::new();
        };
        if epilogue != Epilogue::Residual {
            return self.hosts_of(inputs[0], epilogue, &[]);
        }
        if self.graph.nodes[inputs[0]].shape != self.graph.nodes[inputs[1]].shape {
            return Vec::new();
        }
        let mut hosts = self.hosts_of(inputs[0], epilogue, &inputs[1..]);
        hosts.extend(self.hosts_of(inputs[1], epilogue, &inputs[..1]));
        hosts
    }

    /// The ops that compute value `id` and can do `epilogue`, too.
    fn hosts_of(&self, id: Id, epilogue: Epilogue, extra: &[Id]) -> Vec<Host> {
        if self.uses[id] > 1 || self.values.contains_key(&id) {
            return Vec::new();
        }
        let host = |op: &Arc<dyn Op>, inputs: &[Id]| {
            (op.with_epilogue(epilogue)).map(|host| (host, inputs.to_vec(), extra.to_vec()))
        };
        match &self.graph.nodes[id].kind {
            Kind::Op(op, inputs) => host(op, inputs).into_iter().collect(),
            Kind::Fused {
                op, inputs, plain, ..
            } => (host(op, inputs).into_iter())
                .chain(self.hosts_of(*plain, epilogue, extra))
                .collect(),
            _ => Vec::new(),
        }
    }
}
