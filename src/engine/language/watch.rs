//! What is kept of verifications: the target's distributions for a draft to learn from, and how far the draft's agree.

use super::plans;
use super::session::Session;
use crate::device::Store;
use crate::error::Result;

/// What is kept of verifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Watch {
    /// Distributions that there is room for on the device; with 0 there is only [`super::Stats::overlap`].
    pub rows: usize,
    /// Those of accepted proposals, too, not only the one at the end of a round.
    pub all: bool,
}

/// A distribution of the target that was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Of the token that it predicts the next one of: an index of the sequence.
    pub position: usize,
    /// Its row among those kept.
    pub slot: u32,
}

/// Which rows are in use.
pub(super) struct Watching {
    pub watch: Watch,
    free: Vec<u32>,
    kept: Vec<Kept>,
}

impl Watching {
    fn new(watch: Watch) -> Self {
        Self {
            watch,
            free: (0..watch.rows as u32).rev().collect(),
            kept: Vec::new(),
        }
    }

    /// Rows for a round of `proposals`; fewer where there are no more.
    pub fn take(&mut self, proposals: usize) -> Vec<u32> {
        let wanted = if self.watch.all { proposals + 1 } else { 1 };
        let at = self.free.len().saturating_sub(wanted);
        self.free.split_off(at)
    }

    /// Gives rows back.
    pub fn release(&mut self, slots: impl IntoIterator<Item = u32>) {
        self.free.extend(slots);
    }

    /// Takes note of a round with `slots` after `known` tokens, which brought `new` ones, the last of them after
    /// `accepted` proposals where the text did not end before.
    pub fn keep(&mut self, slots: Vec<u32>, known: usize, accepted: usize, new: usize) {
        let first = if self.watch.all { 0 } else { accepted };
        for (i, slot) in slots.into_iter().enumerate() {
            let row = first + i;
            // Row i predicts the i-th new token.
            match row <= accepted && row < new {
                true => self.kept.push(Kept {
                    position: known + row - 1,
                    slot,
                }),
                false => self.free.push(slot),
            }
        }
    }
}

impl Session {
    /// Keeps of verifications from now on what `watch` says. What was kept before is forgotten.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] and [`crate::Error::Plan`] where it keeps another number of rows already;
    /// [`crate::Error::Device`] where memory is short.
    pub fn watch(&mut self, watch: Watch) -> Result<()> {
        let vocab = self.target.model.config().vocab();
        plans::make_watch(&self.target.store, vocab, watch.rows)?;
        self.watching = Some(Watching::new(watch));
        Ok(())
    }

    /// The distributions kept since this was last called, in the order of the sequence; the caller gives their rows
    /// back by [`Session::release`]. While none is free, none is kept.
    pub fn take_kept(&mut self) -> Vec<Kept> {
        (self.watching.as_mut()).map_or_else(Vec::new, |w| std::mem::take(&mut w.kept))
    }

    /// Has the draft's keys and values computed again at the next request, as its weights are others.
    pub fn renew_draft(&mut self) {
        self.drafted = 0;
    }

    /// Gives back rows of [`Session::take_kept`].
    pub fn release(&mut self, slots: impl IntoIterator<Item = u32>) {
        if let Some(watching) = &mut self.watching {
            watching.release(slots);
        }
    }

    /// The memory of the distributions, f32 [rows, vocabulary], in state [`Session::KEPT`].
    pub fn kept_in(&self) -> Store {
        self.target.store.clone()
    }

    /// The state of the distributions that are kept.
    pub const KEPT: &str = plans::KEPT;
}

#[cfg(test)]
mod tests {
    use super::{Kept, Watch, Watching};

    fn watching(all: bool) -> Watching {
        Watching::new(Watch { rows: 8, all })
    }

    #[test]
    fn the_row_that_predicts_the_corrected_token_is_kept() {
        // 10 tokens are known; 2 of 4 proposals stand, so the third new token is the corrected one, at index 12: the
        // token at index 11 predicts it.
        let mut w = watching(false);
        let slots = w.take(4);
        assert_eq!(slots.len(), 1);
        w.keep(slots.clone(), 10, 2, 3);
        let kept = Kept {
            position: 11,
            slot: slots[0],
        };
        assert_eq!(w.kept, [kept]);
        assert_eq!(w.free.len(), 7);
    }

    #[test]
    fn all_rows_up_to_the_corrected_one() {
        let mut w = watching(true);
        let slots = w.take(4);
        assert_eq!(slots.len(), 5);
        w.keep(slots, 10, 2, 3);
        let positions: Vec<usize> = w.kept.iter().map(|k| k.position).collect();
        assert_eq!(positions, [9, 10, 11]);
        assert_eq!(w.free.len(), 5);
    }

    #[test]
    fn nothing_is_kept_beyond_the_end_of_the_text_or_without_room() {
        let mut w = watching(false);
        let slots = w.take(4);
        w.keep(slots, 10, 2, 1);
        assert!(w.kept.is_empty());
        assert_eq!(w.free.len(), 8);
        w.free.clear();
        assert!(w.take(4).is_empty());
    }
}
