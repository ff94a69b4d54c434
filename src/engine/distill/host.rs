//! A training put by on the host, so that its memory on the device is free for another.

use super::trainer::{Trainer, llama};
use crate::device::Store;
use crate::error::Result;
use crate::tensor::Tensor;
use std::collections::BTreeSet;

/// What a training goes on from: weights, moments, the count of steps on the device.
pub(super) type Parked = Vec<(String, Tensor)>;

impl Trainer {
    /// Reads weights and moments to the host, and gives back all memory on the device. What was marked is forgotten.
    /// [`Trainer::wake`], or the next step, brings it back.
    ///
    /// # Errors
    /// What reading returns; it stays where it is then.
    pub fn park(&mut self) -> Result<()> {
        if self.parked.is_some() {
            return Ok(());
        }
        let weights = llama(self.model())?.weights();
        let mut names: BTreeSet<String> = weights.iter().map(|w| w.name.clone()).collect();
        names.extend(self.all());
        let parked: Result<Parked> = (names.into_iter())
            .map(|name| Ok((name.clone(), self.store.read(&name)?)))
            .collect();
        self.parked = Some(parked?);
        self.marked = None;
        self.plans.clear();
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
        for (name, tensor) in parked {
            store.make(name, tensor.dtype(), tensor.len())?;
            store.write(name, 0, bytemuck::cast_slice(&tensor.to_f32()))?;
        }
        (self.store, self.parked) = (store, None);
        Ok(())
    }

    pub fn is_parked(&self) -> bool {
        self.parked.is_some()
    }

    /// Bytes on the device: weights, moments, inputs, and what its plans work on.
    pub fn device_bytes(&self) -> u64 {
        let plans = self.plans.values().map(|run| run.plan().slot_bytes());
        self.bytes() + plans.sum::<u64>()
    }
}
