//! From a target that reads texts to what a batch of them teaches.

use super::batch::Batch;
use super::trainer::Trainer;
use crate::engine::language::{Scorer, Session};
use crate::error::Result;

/// Where the target's distributions of a batch go.
pub enum Distributions<'a> {
    /// Nowhere: tokens alone are learned.
    None,
    /// To the host, in [`Batch::probs`].
    Host,
    /// Into this trainer's own table, in [`Batch::slots`]: they do not leave the device. All batches that it gets have as
    /// many sequences.
    Table(&'a mut Trainer),
}

impl Distributions<'_> {
    /// Takes the first `count` of what `scorer` keeps along, as those from row `at` of the batch on; for each whether it is
    /// a distribution. A table has `room` rows.
    pub(super) fn take(
        &mut self,
        scorer: &Scorer,
        at: usize,
        count: usize,
        room: usize,
        batch: &mut Batch,
    ) -> Result<Vec<bool>> {
        match self {
            Self::None => Ok(Vec::new()),
            Self::Host => {
                let vocab = scorer.vocab();
                let values = (scorer.store()).read_part(Session::KEPT, 0, count * vocab)?;
                let values = values.to_f32();
                let sound = |row: &[f32]| (row.iter().sum::<f32>() - 1.0).abs() < 1e-2;
                let all = values.chunks(vocab).map(sound).collect();
                batch.probs.extend(values);
                Ok(all)
            }
            Self::Table(trainer) => {
                let rows = at as u32..(at + count) as u32;
                batch.slots.extend(rows.clone());
                let pairs: Vec<[u32; 2]> = (0..).zip(rows).map(|(a, b)| [a, b]).collect();
                trainer.take((scorer.store(), Session::KEPT), &pairs, room)
            }
        }
    }
}
