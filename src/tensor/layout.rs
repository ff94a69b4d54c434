//! Where the elements of a view lie in the storage it looks at. A view never copies.

use crate::error::{Error, Result};
use crate::tensor::elements;

/// A shape with a stride for each dimension and an offset, all counted in elements.
///
/// A stride of 0 repeats one element along its dimension (broadcast).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
    pub offset: usize,
}

impl Layout {
    /// The row-major layout of `shape`.
    pub fn contiguous(shape: &[usize]) -> Self {
        let mut strides = vec![1; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = strides[i] * shape[i];
        }
        Self {
            shape: shape.to_vec(),
            strides,
            offset: 0,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        elements(&self.shape).unwrap_or(usize::MAX)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the elements lie in row-major order without gaps (from `offset` on).
    pub fn is_contiguous(&self) -> bool {
        let want = Self::contiguous(&self.shape);
        (0..self.shape.len()).all(|i| self.shape[i] == 1 || self.strides[i] == want.strides[i])
    }

    /// The same elements with the dimensions in the order of `axes`, a permutation.
    pub fn permute(&self, axes: &[usize]) -> Result<Self> {
        let mut seen = vec![false; self.shape.len()];
        let valid = axes.len() == self.shape.len()
            && axes
                .iter()
                .all(|&a| a < seen.len() && !std::mem::replace(&mut seen[a], true));
        if !valid {
            return Err(Error::Tensor(format!(
                "{axes:?} is not an order of the {} dimensions of {:?}",
                self.shape.len(),
                self.shape
            )));
        }
        Ok(Self {
            shape: axes.iter().map(|&a| self.shape[a]).collect(),
            strides: axes.iter().map(|&a| self.strides[a]).collect(),
            offset: self.offset,
        })
    }

    /// Elements `start .. start + len` along `axis`.
    pub fn slice(&self, axis: usize, start: usize, len: usize) -> Result<Self> {
        if axis >= self.shape.len() || start + len > self.shape[axis] {
            return Err(Error::Tensor(format!(
                "{start}..{} along axis {axis} is outside {:?}",
                start + len,
                self.shape
            )));
        }
        let mut out = self.clone();
        out.offset += start * self.strides[axis];
        out.shape[axis] = len;
        Ok(out)
    }

    /// The same elements in another shape, as a view; `None` where only a copy could do it.
    pub fn reshape(&self, shape: &[usize]) -> Option<Self> {
        if elements(shape)? != self.len() {
            return None;
        }
        // Walk both shapes from the right in groups of equal element count; each old group must be
        // mergeable (each stride the product of what is to its right).
        let old: Vec<(usize, usize)> = (self.shape.iter().copied())
            .zip(self.strides.iter().copied())
            .filter(|&(d, _)| d != 1)
            .collect();
        let mut strides = vec![1; shape.len()];
        let (mut i, mut j) = (old.len(), shape.len());
        while j > 0 {
            if shape[j - 1] == 1 {
                j -= 1;
                continue;
            }
            if i == 0 {
                return None;
            }
            let (mut have, base) = old[i - 1];
            let mut stride = base;
            i -= 1;
            let mut want = shape[j - 1];
            strides[j - 1] = stride;
            stride *= shape[j - 1];
            j -= 1;
            while have != want {
                if want < have {
                    if j == 0 {
                        return None;
                    }
                    strides[j - 1] = stride;
                    stride *= shape[j - 1];
                    want *= shape[j - 1];
                    j -= 1;
                } else {
                    if i == 0 || old[i - 1].1 != base * have {
                        return None;
                    }
                    have *= old[i - 1].0;
                    i -= 1;
                }
            }
        }
        Some(Self {
            shape: shape.to_vec(),
            strides,
            offset: self.offset,
        })
    }

    /// The same view with exactly four dimensions: ones in front of fewer, leading ones merged of more.
    ///
    /// # Errors
    /// [`Error::Tensor`] where the leading dimensions cannot be merged without a copy.
    pub fn four(&self) -> Result<Self> {
        let rank = self.shape.len();
        if rank <= 4 {
            let mut out = self.clone();
            out.shape.splice(0..0, vec![1; 4 - rank]);
            out.strides.splice(0..0, vec![0; 4 - rank]);
            return Ok(out);
        }
        let mut shape = vec![self.shape[..rank - 3].iter().product()];
        shape.extend(&self.shape[rank - 3..]);
        self.reshape(&shape).ok_or_else(|| {
            Error::Tensor(format!("a view {:?} has too many dimensions", self.shape))
        })
    }

    /// `self` seen in the larger `shape`: dimensions of size 1 are repeated, missing leading ones added.
    pub fn broadcast(&self, shape: &[usize]) -> Option<Self> {
        let lead = shape.len().checked_sub(self.shape.len())?;
        let mut strides = vec![0; shape.len()];
        for (i, (&d, &s)) in self.shape.iter().zip(&self.strides).enumerate() {
            match (d, shape[lead + i]) {
                (d, want) if d == want => strides[lead + i] = s,
                (1, _) => {}
                _ => return None,
            }
        }
        Some(Self {
            shape: shape.to_vec(),
            strides,
            offset: self.offset,
        })
    }

    /// The storage index of every element, in row-major order of the view.
    pub fn indices(&self) -> impl Iterator<Item = usize> + '_ {
        let n = self.len();
        let mut at = vec![0usize; self.shape.len()];
        let mut index = self.offset;
        (0..n).map(move |_| {
            let now = index;
            for d in (0..at.len()).rev() {
                at[d] += 1;
                index += self.strides[d];
                if at[d] < self.shape[d] {
                    break;
                }
                index -= self.strides[d] * at[d];
                at[d] = 0;
            }
            now
        })
    }

    /// One past the largest storage index that the view touches.
    pub fn end(&self) -> usize {
        if self.is_empty() {
            return self.offset;
        }
        let last: usize = (self.shape.iter().zip(&self.strides))
            .map(|(&d, &s)| (d - 1) * s)
            .sum();
        self.offset + last + 1
    }
}
