//! A training put by on the host, so that its memory on the device is free for another.

use super::parts::Pace;
use super::standing::Place;
use super::table::{TABLE, Table};
use super::trainer::Trainer;
use crate::device::Store;
use crate::error::Result;
use crate::tensor::{DType, Tensor};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a training goes on from: weights, moments, the count of steps on the device.
pub(super) type Parked = Vec<(String, Tensor)>;

impl Trainer {
    /// Reads weights, moments and the given rows of the table to the host, and gives back all memory on the device. What
    /// was marked is forgotten. [`Trainer::wake`], or the next step, brings it back.
    ///
    /// # Errors
    /// What reading returns; it stays where it is then.
    pub fn park(&mut self, rows: &[u32]) -> Result<()> {
        if self.parked.is_some() {
            return Ok(());
        }
        let vocab = self.model().config().vocab();
        let row = |&at: &u32| {
            Ok((
                at,
                (self.store).read_part(TABLE, at as usize * vocab, vocab)?,
            ))
        };
        let kept = rows.iter().map(row).collect::<Result<Vec<_>>>()?;
        let weights = self.model().layers().weights();
        let mut names: BTreeSet<String> = weights.iter().map(|w| w.name.clone()).collect();
        names.extend(self.all());
        let parked: Result<Parked> = (names.into_iter())
            .map(|name| Ok((name.clone(), self.store.read(&name)?)))
            .collect();
        let parked = Arc::new(parked?);
        self.standing.at(Place::Host(parked.clone()));
        self.parked = Some(parked);
        self.marked = None;
        self.plans.clear();
        self.copies = [None, None];
        self.pace = Pace::default();
        let rows = self.table.rows;
        self.table = Table::default();
        (self.table.rows, self.table.kept) = (rows, kept);
        self.store = Store::new(self.model().device());
        Ok(())
    }

    /// Brings a parked training back, as it was; one that is not parked stays.
    ///
    /// # Errors
    /// What making memory returns; it stays parked then.
    pub fn wake(&mut self) -> Result<()> {
        let Some(parked) = &self.parked else {
            return Ok(());
        };
        let store = Store::new(self.model().device());
        for (name, tensor) in parked.iter() {
            store.make(name, tensor.dtype(), tensor.len())?;
            store.write(name, 0, bytemuck::cast_slice(&tensor.to_f32()))?;
        }
        let (table, vocab) = (&mut self.table, self.model.config().vocab());
        if !table.kept.is_empty() {
            store.make(TABLE, DType::F32, table.rows * vocab)?;
            for (at, row) in &table.kept {
                store.write(
                    TABLE,
                    *at as usize * vocab,
                    bytemuck::cast_slice(&row.to_f32()),
                )?;
            }
            table.kept.clear();
        }
        self.standing.at(Place::Device {
            store: store.clone(),
            marked: false,
        });
        (self.store, self.parked) = (store, None);
        Ok(())
    }

    pub fn is_parked(&self) -> bool {
        self.parked.is_some()
    }

    /// Bytes on the device: weights, moments, inputs, and what its plans work on.
    pub fn device_bytes(&self) -> u64 {
        let plans = self.plans.values().map(|p| p.run.plan().slot_bytes());
        self.bytes() + plans.sum::<u64>()
    }
}
