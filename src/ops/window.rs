//! Maps cut into square windows, and put together again.

use crate::error::Result;
use crate::graph::{Lower, Op, Value};
use crate::kernels::elementwise::window::{self, Binds};

/// Cuts [batch, h, w, c] (a map of `map`) into windows, or, `reverse`, puts them together.
#[derive(Debug)]
struct Window {
    map: [usize; 4],
    side: usize,
    reverse: bool,
}

impl Window {
    fn windows(&self) -> [usize; 4] {
        let [batch, h, w, c] = self.map;
        let n = batch * h.div_ceil(self.side) * w.div_ceil(self.side);
        [n, self.side, self.side, c]
    }
}

impl Op for Window {
    fn name(&self) -> &'static str {
        if self.reverse { "unwindow" } else { "window" }
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let (from, to) = match self.reverse {
            true => (self.windows(), self.map),
            false => (self.map, self.windows()),
        };
        if inputs[0] == from {
            Ok(to.to_vec())
        } else {
            Err(format!("{:?} where {from:?} was expected", inputs[0]))
        }
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let x = lower.contiguous(0)?;
        let binds = Binds { x, y: lower.output };
        let d = window::dispatch(
            self.map,
            self.side,
            self.reverse,
            lower.dtype,
            binds,
            lower.caps,
        );
        lower.memory.push(d);
        Ok(true)
    }
}

impl<'g> Value<'g> {
    /// Square windows of `side`, row by row, zeros beyond the map at its bottom and right:
    /// [batch, h, w, c] → [batch · windows, side, side, c].
    #[track_caller]
    pub fn windows(self, side: usize) -> Self {
        self.window(self, side, false)
    }

    /// Undoes [`Value::windows`] of a map like `like`, in any number of channels.
    #[track_caller]
    pub fn unwindow(self, like: Value<'g>, side: usize) -> Self {
        self.window(like, side, true)
    }

    #[track_caller]
    fn window(self, like: Value<'g>, side: usize, reverse: bool) -> Self {
        let mut map: [usize; 4] = like.shape().try_into().unwrap_or([0; 4]);
        if let Some(&c) = self.shape().last() {
            map[3] = c;
        }
        self.graph().apply(Window { map, side, reverse }, &[self])
    }
}
