//! A value in a graph, and the views of it: layouts, not ops.

use super::{Graph, Id, Kind, View};
use crate::tensor::{Layout, elements};
use std::panic::Location;

/// A value in a [`Graph`].
#[derive(Clone, Copy)]
pub struct Value<'g> {
    pub(super) graph: &'g Graph,
    pub(super) id: Id,
}

impl<'g> Value<'g> {
    pub fn graph(self) -> &'g Graph {
        self.graph
    }

    pub fn shape(self) -> Vec<usize> {
        self.graph.shape(self.id)
    }

    /// The size of dimension `axis`, counted from the last where negative.
    ///
    /// # Panics
    /// Where there is no such dimension: a mistake in the model's own text.
    pub fn dim(self, axis: isize) -> usize {
        let shape = self.shape();
        let at = if axis < 0 {
            shape.len() as isize + axis
        } else {
            axis
        };
        shape[at as usize]
    }

    #[track_caller]
    fn view(self, name: &'static str, view: View, shape: Option<Vec<usize>>, what: String) -> Self {
        let at = Location::caller();
        match shape {
            Some(shape) => self.graph.push(Kind::View(self.id, view), shape, at),
            None => {
                self.graph.fail(name, what, at);
                self
            }
        }
    }

    /// The same elements, in row-major order, as `shape`.
    #[track_caller]
    pub fn reshape(self, shape: &[usize]) -> Self {
        let have = self.shape();
        let fits = elements(&have) == elements(shape);
        let what = format!("{have:?} as {shape:?}");
        let to = shape.to_vec();
        self.view(
            "reshape",
            View::Reshape(to.clone()),
            fits.then_some(to),
            what,
        )
    }

    /// The dimensions in the order of `axes`.
    #[track_caller]
    pub fn permute(self, axes: &[usize]) -> Self {
        let have = self.shape();
        let to = Layout::contiguous(&have)
            .permute(axes)
            .ok()
            .map(|l| l.shape);
        let what = format!("{have:?} by {axes:?}");
        self.view("permute", View::Permute(axes.to_vec()), to, what)
    }

    /// Elements `start .. start + len` of dimension `axis`.
    #[track_caller]
    pub fn slice(self, axis: usize, start: usize, len: usize) -> Self {
        let have = self.shape();
        let to = Layout::contiguous(&have).slice(axis, start, len).ok();
        let what = format!("{start}..{} of dimension {axis} of {have:?}", start + len);
        let view = View::Slice { axis, start, len };
        self.view("slice", view, to.map(|l| l.shape), what)
    }

    /// Pieces of the given sizes along `axis`.
    #[track_caller]
    pub fn split<const N: usize>(self, axis: usize, sizes: [usize; N]) -> [Self; N] {
        let mut start = 0;
        sizes.map(|len| {
            let piece = self.slice(axis, start, len);
            start += len;
            piece
        })
    }

    /// `n` equal pieces along `axis`.
    #[track_caller]
    pub fn chunk(self, axis: usize, n: usize) -> Vec<Self> {
        let at = Location::caller();
        let have = self.shape();
        let size = have.get(axis).copied().unwrap_or(0);
        if n == 0 || !size.is_multiple_of(n) || size == 0 {
            self.graph
                .fail("chunk", format!("dimension {axis} of {have:?} in {n}"), at);
            return vec![self; n];
        }
        (0..n)
            .map(|i| self.slice(axis, i * (size / n), size / n))
            .collect()
    }

    /// Seen in the larger `shape`, dimensions of size 1 repeated.
    #[track_caller]
    pub fn broadcast(self, shape: &[usize]) -> Self {
        let have = self.shape();
        if have == shape {
            return self;
        }
        let to = Layout::contiguous(&have).broadcast(shape).map(|l| l.shape);
        let what = format!("{have:?} to {shape:?}");
        self.view("broadcast", View::Broadcast(shape.to_vec()), to, what)
    }
}
