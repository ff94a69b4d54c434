//! A model with one sequence: its caches on the device, and the plans that work on them.

use super::model::{Language, Room};
use crate::device::{Executable, Store};
use crate::error::{Error, Result};
use crate::models::language::Cached;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// Rows of the runs that fill caches, the most first. Fewer are left to runs of a single row.
pub(super) const PREFILL: [usize; 4] = [512, 128, 16, 1];

/// A model, one sequence of it, and its plans of kind `K`, each made when it is first needed.
pub(super) struct Runner<K> {
    pub model: Arc<Language>,
    pub store: Store,
    pub room: Room,
    prefill: HashMap<usize, Arc<Executable>>,
    encoders: HashMap<usize, Arc<Executable>>,
    loaded: HashMap<K, Arc<Executable>>,
}

impl<K: Copy + Eq + Hash> Runner<K> {
    pub fn new(model: &Arc<Language>, room: Room) -> Self {
        Self {
            store: model.sequence(),
            model: model.clone(),
            room,
            prefill: HashMap::new(),
            encoders: HashMap::new(),
            loaded: HashMap::new(),
        }
    }

    /// Bytes of its states, and of what its plans work on.
    pub fn bytes(&self) -> u64 {
        let plans = (self.prefill.values())
            .chain(self.encoders.values())
            .chain(self.loaded.values());
        self.store.bytes().1 + plans.map(|run| run.plan().slot_bytes()).sum::<u64>()
    }

    /// A run of `rows` of this sequence.
    pub fn cached(&self, rows: usize) -> Cached {
        self.model.cached(rows, &self.room)
    }

    /// The plan of `kind`, which `make` writes where there is none yet.
    pub fn plan(
        &mut self,
        kind: K,
        make: impl FnOnce(&Self) -> Result<Arc<Executable>>,
    ) -> Result<Arc<Executable>> {
        if let Some(known) = self.loaded.get(&kind) {
            return Ok(known.clone());
        }
        let made = make(self)?;
        self.loaded.insert(kind, made.clone());
        Ok(made)
    }

    /// Whether the plan of `kind` was made.
    pub fn has(&self, kind: &K) -> bool {
        self.loaded.contains_key(kind)
    }

    fn prefill_plan(&mut self, rows: usize) -> Result<Arc<Executable>> {
        if let Some(known) = self.prefill.get(&rows) {
            return Ok(known.clone());
        }
        let graph = self.model.prefill_graph(&self.cached(rows))?;
        let made = self.model.load(&self.store, &graph)?;
        self.prefill.insert(rows, made.clone());
        Ok(made)
    }

    /// Reads `prompt` with the encoder: the decoder's caches of its output are filled.
    ///
    /// # Errors
    /// What loading and running return.
    pub fn encode(&mut self, prompt: &[u32]) -> Result<()> {
        // Rows beyond the prompt are computed and never looked at.
        let step = if prompt.len() <= 128 { 16 } else { 128 };
        let rows = prompt.len().next_multiple_of(step).min(self.room.capacity);
        let plan = match self.encoders.get(&rows) {
            Some(known) => known.clone(),
            None => {
                let graph = self.model.encoder_graph(&self.cached(rows))?;
                let made = self.model.load(&self.store, &graph)?;
                self.encoders.insert(rows, made.clone());
                made
            }
        };
        self.store.write("prompt", 0, prompt)?;
        self.store.write("keys", 0, &[prompt.len() as u32])?;
        self.store.write("start", 0, &[0])?;
        plan.submit(false)
    }

    /// As [`Runner::fill`], of whole runs, and how many milliseconds the device took.
    pub fn time_fill(&mut self, first: usize, end: usize) -> Result<f64> {
        let (mut at, mut ms) = (first, 0.0);
        while at < end {
            let rows = chunk(at, end, self.room.capacity, self.room.window.is_some());
            let plan = self.prefill_plan(rows)?;
            self.store.write("start", 0, &[at as u32])?;
            ms += plan.time(1)?[0];
            at += rows;
        }
        Ok(ms)
    }

    /// Computes the keys and values of positions `first..end`, whose tokens are in the history.
    ///
    /// # Errors
    /// What loading and running return.
    pub fn fill(&mut self, first: usize, end: usize) -> Result<()> {
        let mut at = first;
        while at < end {
            let rows = chunk(at, end, self.room.capacity, self.room.window.is_some());
            let plan = self.prefill_plan(rows)?;
            let position = u32::try_from(at).map_err(|_| Error::Usage("too long".into()))?;
            self.store.write("start", 0, &[position])?;
            plan.submit(false)?;
            at = (at + rows).min(end);
        }
        Ok(())
    }
}

/// Rows of the next run of those that take a sequence from `at` to `end`. A run may go beyond `end`, as what it leaves
/// there is written again before it is read; but not beyond the capacity, where positions come round to the first.
fn chunk(at: usize, end: usize, capacity: usize, window: bool) -> usize {
    let left = end - at;
    let fits = |rows: usize| rows <= left || (!window && rows < 2 * left && at + rows <= capacity);
    PREFILL.into_iter().find(|&rows| fits(rows)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::chunk;

    #[test]
    fn runs_cover_a_prompt_and_stay_within_the_capacity() {
        for (first, end, capacity) in [(0, 1, 64), (0, 37, 64), (5, 600, 600), (0, 1000, 4096)] {
            let (mut at, mut runs) = (first, 0);
            while at < end {
                let rows = chunk(at, end, capacity, false);
                assert!(at + rows <= capacity, "{at} + {rows} > {capacity}");
                at += rows;
                runs += 1;
            }
            assert!(runs <= 12, "{runs} runs for {first}..{end}");
        }
    }

    #[test]
    fn with_a_window_nothing_is_written_beyond_the_end() {
        let mut at = 0;
        while at < 150 {
            at += chunk(at, 150, 160, true);
        }
        assert_eq!(at, 150);
    }
}
