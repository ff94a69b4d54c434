//! Convolutions.

pub mod depthwise;
pub mod direct;
pub mod expand_depthwise;
pub mod expand_depthwise_few;
pub mod stem;
pub mod stem_matrix;

/// A square filter, and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    pub side: usize,
    pub stride: usize,
    /// Zeros on each side of the map.
    pub pad: usize,
    /// Negative results become 0.
    pub relu: bool,
}

impl Filter {
    /// Positions along a dimension of `size`; 0 where the filter does not fit.
    pub fn out(&self, size: usize) -> usize {
        (size + 2 * self.pad)
            .checked_sub(self.side)
            .map_or(0, |room| room / self.stride.max(1) + 1)
    }
}
