//! What outlives a run, shared by several plans: constants, each loaded once, and states by name.

use super::constants::Constants;
use super::{Device, Inner};
use crate::error::{Error, Result};
use crate::graph::{Encode, Pack, Source};
use crate::tensor::{DType, Tensor};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Memory of a device that plans loaded into it share. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Store {
    pub(super) device: Arc<Inner>,
    pub(super) constants: Arc<Mutex<Constants>>,
    states: Arc<Mutex<HashMap<String, State>>>,
}

/// A buffer that is kept from run to run.
#[derive(Clone)]
pub(super) struct State {
    pub buffer: wgpu::Buffer,
    pub dtype: DType,
    /// Elements.
    pub len: usize,
}

impl Store {
    /// An empty store.
    pub fn new(device: &Device) -> Self {
        Self {
            device: device.inner.clone(),
            constants: Arc::default(),
            states: Arc::default(),
        }
    }

    /// A store without states that shares this one's constants: for one more sequence of the same model.
    #[must_use]
    pub fn with_same_constants(&self) -> Self {
        Self {
            device: self.device.clone(),
            constants: self.constants.clone(),
            states: Arc::default(),
        }
    }

    /// A store with this one's states and the constants of `other`.
    #[must_use]
    pub fn with_constants_of(&self, other: &Self) -> Self {
        Self {
            device: self.device.clone(),
            constants: other.constants.clone(),
            states: self.states.clone(),
        }
    }

    /// The constants that it has made, each by what it is made of.
    pub fn constants(&self) -> Vec<(Vec<Pack>, Encode)> {
        let constants = (self.constants.lock()).unwrap_or_else(PoisonError::into_inner);
        constants.all()
    }

    fn states(&self) -> MutexGuard<'_, HashMap<String, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the state called `name`, of zeros, where there is none yet.
    ///
    /// # Errors
    /// [`Error::Plan`] where it exists with another type or length.
    pub fn make(&self, name: &str, dtype: DType, len: usize) -> Result<()> {
        self.state(name, dtype, len).map(|_| ())
    }

    /// As [`Store::make`], and the state.
    pub(super) fn state(&self, name: &str, dtype: DType, len: usize) -> Result<State> {
        if let Some(known) = self.states().get(name) {
            if (known.dtype, known.len) == (dtype, len) {
                return Ok(known.clone());
            }
            return Err(Error::Plan(format!(
                "state `{name}` is {} × {}, a plan takes it as {len} × {dtype}",
                known.len, known.dtype
            )));
        }
        use wgpu::BufferUsages as U;
        let usage = U::STORAGE | U::COPY_SRC | U::COPY_DST;
        let buffer = self
            .device
            .buffer(name, (len * dtype.bytes()) as u64, usage)?;
        let state = State { buffer, dtype, len };
        self.states().insert(name.into(), state.clone());
        Ok(state)
    }

    /// Makes state `name` of this store the same memory as state `of` of `other`, which must have it.
    ///
    /// # Errors
    /// [`Error::Usage`] where `other` has no such state or this store has one already.
    pub fn share(&self, name: &str, other: &Store, of: &str) -> Result<()> {
        let state = other.known(of)?;
        if self.states().contains_key(name) {
            return Err(Error::Usage(format!("state `{name}` is there already")));
        }
        self.states().insert(name.into(), state);
        Ok(())
    }

    pub(super) fn known(&self, name: &str) -> Result<State> {
        (self.states().get(name).cloned())
            .ok_or_else(|| Error::Usage(format!("there is no state `{name}`")))
    }

    /// The type and the length of state `name`.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no such state.
    pub fn kind(&self, name: &str) -> Result<(DType, usize)> {
        self.known(name).map(|s| (s.dtype, s.len))
    }

    /// Writes u32 `values` into state `name` from element `at` on, before anything submitted later.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no such state, it has another type, or they do not fit.
    pub fn write(&self, name: &str, at: usize, values: &[u32]) -> Result<()> {
        self.device.check()?;
        let state = self.known(name)?;
        if state.dtype.bytes() != 4 || at + values.len() > state.len {
            return Err(Error::Usage(format!(
                "{} words at {at} do not fit state `{name}`, {} × {}",
                values.len(),
                state.len,
                state.dtype
            )));
        }
        self.device
            .upload(&state.buffer, at as u64 * 4, bytemuck::cast_slice(values));
        Ok(())
    }

    /// The contents of state `name`, once everything submitted has run.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no such state.
    pub fn read(&self, name: &str) -> Result<Tensor> {
        let len = self.known(name)?.len;
        self.read_part(name, 0, len)
    }

    /// As [`Store::read`], of `len` elements from element `at` on, whose bytes are multiples of 4.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no such state, or they are beyond it.
    pub fn read_part(&self, name: &str, at: usize, len: usize) -> Result<Tensor> {
        let state = self.known(name)?;
        let begin = (at * state.dtype.bytes()) as u64;
        if at + len > state.len || !begin.is_multiple_of(4) {
            return Err(Error::Usage(format!(
                "{len} elements at {at} cannot be read of state `{name}`, {} × {}",
                state.len, state.dtype
            )));
        }
        use wgpu::BufferUsages as U;
        let bytes = (len * state.dtype.bytes()) as u64;
        let copy = self
            .device
            .buffer("state", bytes, U::COPY_DST | U::MAP_READ)?;
        let mut encoder = self
            .device
            .device
            .create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&state.buffer, begin, &copy, 0, bytes.next_multiple_of(4));
        self.device.queue.submit([encoder.finish()]);
        let data = self.device.read(&copy, bytes)?;
        Tensor::new(state.dtype, &[len], data)
    }

    /// Copies state `from` to state `to`, after everything submitted before.
    ///
    /// # Errors
    /// [`Error::Usage`] where either is not there or they differ in type or length.
    pub fn copy(&self, from: &str, to: &str) -> Result<()> {
        self.device.check()?;
        let (a, b) = (self.known(from)?, self.known(to)?);
        if (a.dtype, a.len) != (b.dtype, b.len) {
            return Err(Error::Usage(format!(
                "state `{from}` is {} × {}, `{to}` {} × {}",
                a.len, a.dtype, b.len, b.dtype
            )));
        }
        let mut encoder = (self.device.device).create_command_encoder(&Default::default());
        let bytes = ((a.len * a.dtype.bytes()) as u64).next_multiple_of(4);
        encoder.copy_buffer_to_buffer(&a.buffer, 0, &b.buffer, 0, bytes);
        self.device.queue.submit([encoder.finish()]);
        self.device.check()
    }

    /// Builds all constants again from `read`, where they are: what is submitted later runs on the new ones, what was
    /// submitted before does not.
    ///
    /// # Errors
    /// What `read` returns; nothing is changed then.
    pub fn rewrite_constants(
        &self,
        read: &(dyn Fn(&Source) -> Result<Vec<f32>> + Sync),
    ) -> Result<()> {
        self.device.check()?;
        let constants = (self.constants.lock()).unwrap_or_else(PoisonError::into_inner);
        constants.rewrite(&self.device, read)
    }

    /// Forgets all constants: plans that are loaded keep theirs, those loaded later make them anew.
    pub fn forget_constants(&self) {
        let mut constants = (self.constants.lock()).unwrap_or_else(PoisonError::into_inner);
        *constants = Constants::default();
    }

    /// Bytes of the constants and of the states that it holds.
    pub fn bytes(&self) -> (u64, u64) {
        let states = (self.states().values())
            .map(|s| (s.len * s.dtype.bytes()) as u64)
            .sum();
        let constants = self
            .constants
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (constants.bytes(), states)
    }
}
