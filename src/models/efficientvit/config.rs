//! The six published variants (paper, Table 1), and what an input's size makes of them.

use crate::error::{Error, Result};

/// Width of q and k of every head.
pub const KEY_DIM: usize = 16;
/// The largest window's side.
pub const WINDOW: usize = 7;

/// What distinguishes a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Channels of the three stages.
    pub dims: [usize; 3],
    /// Blocks of the three stages.
    pub depths: [usize; 3],
    /// Attention heads of the three stages.
    pub heads: [usize; 3],
    /// Side of the depthwise convolution on q, by head.
    pub kernels: [usize; 4],
    pub classes: usize,
    /// Height and width of the input.
    pub size: [usize; 2],
    /// Side of the relative position tables in the checkpoint, by stage; 7, 7, 4 where it was made at 224.
    pub tables: [usize; 3],
    /// Whether the checkpoint has the distillation head too.
    pub distilled: bool,
}

/// The published variants' names, smallest first.
pub const NAMES: [&str; 6] = ["m0", "m1", "m2", "m3", "m4", "m5"];

impl Config {
    /// The variant called `name`: `m0` to `m5`, or `efficientvit_m0`, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let lower = name.to_lowercase();
        let short = lower.strip_prefix("efficientvit_").unwrap_or(&lower);
        let at = NAMES.iter().position(|n| *n == short)?;
        Some(Self::variant(at))
    }

    fn variant(at: usize) -> Self {
        const FIVES: [usize; 4] = [5, 5, 5, 5];
        const FALLING: [usize; 4] = [7, 5, 3, 3];
        let (dims, depths, heads, kernels) = match at {
            0 => ([64, 128, 192], [1, 2, 3], [4, 4, 4], FIVES),
            1 => ([128, 144, 192], [1, 2, 3], [2, 3, 3], FALLING),
            2 => ([128, 192, 224], [1, 2, 3], [4, 3, 2], FALLING),
            3 => ([128, 240, 320], [1, 2, 3], [4, 3, 4], FIVES),
            4 => ([128, 256, 384], [1, 2, 3], [4, 4, 4], FALLING),
            _ => ([192, 288, 384], [1, 3, 4], [3, 3, 4], FALLING),
        };
        Self {
            dims,
            depths,
            heads,
            kernels,
            classes: 1000,
            size: [224, 224],
            tables: [7, 7, 4],
            distilled: false,
        }
    }

    /// The variant whose widths a checkpoint has: the three stages' channels, and the q kernel sizes of the
    /// first stage, which tell apart those of equal width.
    pub fn of_widths(dims: [usize; 3]) -> Option<Self> {
        (0..NAMES.len()).map(Self::variant).find(|c| c.dims == dims)
    }

    /// The published name with these widths.
    pub fn name(&self) -> Option<&'static str> {
        let at = (0..NAMES.len()).position(|i| Self::variant(i).dims == self.dims)?;
        Some(NAMES[at])
    }

    /// The side of each stage's attention windows, as timm 1.0.31 derives it from the input's smaller side.
    ///
    /// # Errors
    /// [`Error::Usage`] where a side is below the stem's stride of 16 or beyond what can be indexed.
    pub fn windows(&self) -> Result<[usize; 3]> {
        let smaller = self.size[0].min(self.size[1]);
        if smaller < 16 || self.size[0].max(self.size[1]) > 8192 {
            let [h, w] = self.size;
            return Err(Error::Usage(format!(
                "an input of {h}×{w} cannot be: each side must be from 16, the stem's stride, to 8192"
            )));
        }
        let first = smaller / 16;
        let second = (first - 1) / 2 + 1;
        let third = (second - 1) / 2 + 1;
        Ok([first, second, third].map(|side| side.min(WINDOW)))
    }
}
