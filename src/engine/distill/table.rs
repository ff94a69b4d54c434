//! Distributions that lie on the device: a trainer's own table of them, and how they come there.

use super::trainer::Trainer;
use crate::device::{Executable, Store};
use crate::error::{Error, Result};
use crate::graph::Source;
use crate::kernels::loss::take;
use crate::plan::{Buffer, Plan, Port, Role, Step};
use crate::shader::Arg;
use crate::tensor::{DType, Layout, Tensor};
use std::sync::Arc;

/// The states of the table, and of what it is filled from.
pub(super) const TABLE: &str = "table";
const SOURCE: &str = "source";

/// The states of so many numbers of rows, there and here.
fn rows_of(count: usize) -> [String; 2] {
    ["there", "here"].map(|at| format!("rows {at} {count}"))
}

/// A table of `rows` rows, and the run that takes `count` rows into it.
#[derive(Default)]
pub(super) struct Table {
    pub rows: usize,
    count: usize,
    run: Option<Executable>,
    /// Rows that are on the host while the training is parked.
    pub kept: Vec<(u32, Tensor)>,
}

impl Trainer {
    /// Takes rows of the state `name` of `other`, f32 [n, vocabulary], into rows of this trainer's own table, which has
    /// `room` of them from the first call on: pairs (there, here). For each whether it is a distribution. What a
    /// [`super::Batch`] calls `slots` are rows of the table.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no such state; [`Error::Device`] where memory is short.
    pub fn take(
        &mut self,
        (other, name): (&Store, &str),
        pairs: &[[u32; 2]],
        room: usize,
    ) -> Result<Vec<bool>> {
        self.wake()?;
        let vocab = self.model().config().vocab();
        if self.store.kind(SOURCE).is_err() {
            self.store.share(SOURCE, other, name)?;
            self.table = Table::default();
        }
        let rows_there = self.store.kind(SOURCE)?.1 / vocab;
        self.table.rows = room;
        if self.table.run.is_none() || self.table.count < pairs.len() {
            let count = pairs.len().next_power_of_two().max(64);
            self.table.run = Some(self.taking(count, [rows_there, room], vocab)?);
            self.table.count = count;
        }
        let (count, Some(run)) = (self.table.count, &self.table.run) else {
            return Ok(Vec::new());
        };
        for (i, state) in rows_of(count).iter().enumerate() {
            let mut rows: Vec<u32> = pairs.iter().map(|p| p[i]).collect();
            // Nowhere.
            rows.resize(count, u32::MAX);
            self.store.write(state, 0, &rows)?;
        }
        let sound = run.run(&[])?[0].to_f32();
        Ok(sound[..pairs.len()].iter().map(|&v| v > 0.0).collect())
    }

    fn taking(&self, count: usize, rows: [usize; 2], vocab: usize) -> Result<Executable> {
        let [there, here] = rows_of(count);
        let states = [
            (SOURCE.to_string(), DType::F32, rows[0] * vocab),
            (there, DType::U32, count),
            (here, DType::U32, count),
            (TABLE.to_string(), DType::F32, rows[1] * vocab),
        ];
        let mut buffers: Vec<Buffer> = (states.into_iter())
            .map(|(name, dtype, len)| Buffer {
                role: Role::State(name),
                dtype,
                len,
            })
            .collect();
        buffers.push(Buffer {
            role: Role::Slot(0),
            dtype: DType::F32,
            len: count,
        });
        let binds = take::Binds {
            x: Arg(0),
            from_rows: Arg(1),
            to_rows: Arg(2),
            y: Arg(3),
            sound: Arg(4),
        };
        let caps = self.model().device().caps();
        let plan = Plan {
            dtype: DType::F32,
            steps: vec![Step {
                dispatch: take::dispatch([count, vocab], rows, binds, caps),
                op: "take",
                scope: String::new(),
            }],
            buffers,
            slots: vec![4 * count as u64],
            inputs: Vec::new(),
            outputs: vec![Port {
                name: "sound".into(),
                buffer: 4,
                layout: Layout::contiguous(&[count]),
            }],
        };
        let none = |source: &Source| -> Result<Vec<f32>> {
            Err(Error::Plan(format!("`{}` is no state", source.name)))
        };
        Executable::load_in(&self.store, Arc::new(plan), &none)
    }
}
