//! What models that are trained have in common: weights that are states, and low-rank additions to them.

use crate::graph::{Graph, Value, Weight};
use crate::tensor::DType;

/// A weight that is trained: a state of its name, in its shape, as [`Weight::values`] lays it out.
pub fn trained<'g>(g: &'g Graph, weight: &Weight) -> Value<'g> {
    g.state(&weight.name, &weight.shape, DType::F32)
}

/// How a model is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Training {
    /// Of a layer's values only its input is kept for the gradients, which compute the others once more.
    pub again: bool,
    /// The projections of the layers have additions of this rank.
    pub rank: Option<usize>,
}

impl Training {
    /// x · weightᵀ + bias, and the addition to the weight where there is one: [rows, in] gives [rows, out].
    pub fn linear<'g>(&self, x: Value<'g>, weight: &Weight, bias: Option<&Weight>) -> Value<'g> {
        let g = x.graph();
        let y = x.dense(trained(g, weight), bias.map(|b| trained(g, b)));
        match self.rank.map(|rank| Addition::new(weight, rank)) {
            Some(add) => {
                y + x
                    .dense(trained(g, &add.a), None)
                    .dense(trained(g, &add.b), None)
            }
            None => y,
        }
    }
}

/// What is added to a weight [out, in]: b [out, rank] · a [rank, in] (LoRA, Hu et al., arXiv 2106.09685).
pub struct Addition<'a> {
    pub to: &'a Weight,
    pub a: Weight,
    pub b: Weight,
}

impl<'a> Addition<'a> {
    pub fn new(to: &'a Weight, rank: usize) -> Self {
        let [out, depth] = [to.shape[0], to.shape[1]];
        let part = |name: &str, shape: [usize; 2]| {
            let name = format!("{}.{name}", to.name);
            Weight::made(name, &shape, Vec::new(), move |_| {
                vec![0.0; shape[0] * shape[1]]
            })
        };
        Self {
            to,
            a: part("a", [rank, depth]),
            b: part("b", [out, rank]),
        }
    }
}
