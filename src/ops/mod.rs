//! What models are written with: one file per op, with its shape rule, its cost and how it becomes dispatches.
//! Each adds its method to [`Value`](crate::graph::Value).

mod attend;
mod binary;
mod cascaded_group;
mod concat;
mod conv2d;
mod depthwise_ffn;
mod embedding;
mod expand;
mod gated;
mod grad;
mod head;
mod linear;
mod matmul;
mod mean;
mod norm;
mod project;
mod qkv;
mod sample;
mod softmax;
mod stem;
mod train;
mod unary;
mod window;

pub use attend::Attend;
pub use cascaded_group::CascadedGroup;
pub use conv2d::Conv;
pub use depthwise_ffn::DepthwiseFfn;
pub use expand::Expand;
pub use head::Head;
pub use norm::Norm;
pub use qkv::Qkv;
pub use sample::{Sampler, Watch, outcome_len};
pub use stem::Stem;
pub use train::{Causal, Taught, Whole};

use crate::error::{Error, Result};
use crate::tensor::Layout;

/// Whether vectors of four channels can be read from `layout`: rows are contiguous, and every stride and the
/// offset are multiples of 4.
fn by_fours(layout: &Layout) -> bool {
    let last = layout.shape.len() - 1;
    layout.strides[last] == 1
        && layout.shape[last].is_multiple_of(4)
        && layout.offset.is_multiple_of(4)
        && (layout.strides[..last].iter().zip(&layout.shape))
            .all(|(s, &d)| d == 1 || s.is_multiple_of(4))
}

/// The four dimensions of a map.
fn dims(layout: &Layout) -> Result<[usize; 4]> {
    (layout.shape.as_slice().try_into())
        .map_err(|_| Error::Plan(format!("{:?} is not a map", layout.shape)))
}
