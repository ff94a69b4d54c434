//! Runs of several plans in one submission, with a small state read back while later ones already run.

use super::{Executable, Inner, Store, store::State};
use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::sync::{Arc, mpsc};

/// Submits runs and reads one u32 state after each, in order, without stopping the device in between.
pub struct Stream {
    device: Arc<Inner>,
    state: State,
    free: Vec<wgpu::Buffer>,
    pending: VecDeque<Pending>,
}

struct Pending {
    buffer: wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
    mapped: mpsc::Receiver<Result<(), wgpu::BufferAsyncError>>,
}

impl Stream {
    /// A stream that reads `state` of `store` after each submission, with at most `depth` submissions ahead of the
    /// reader.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no such state; [`Error::Device`] where memory is short.
    pub fn new(store: &Store, state: &str, depth: usize) -> Result<Self> {
        use wgpu::BufferUsages as U;
        let state = store.known(state)?;
        let bytes = (state.len * 4) as u64;
        let free = (0..depth.max(1))
            .map(|_| (store.device).buffer("outcome", bytes, U::COPY_DST | U::MAP_READ))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            device: store.device.clone(),
            state,
            free,
            pending: VecDeque::new(),
        })
    }

    /// Submissions whose state was not read yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Submits one run of each of `runs`, in their order, and a copy of the state as it is then.
    ///
    /// # Errors
    /// [`Error::Usage`] where `depth` submissions are pending already; [`Error::DeviceLost`].
    pub fn submit(&mut self, runs: &[&Executable]) -> Result<()> {
        self.device.check()?;
        let buffer = (self.free.pop()).ok_or_else(|| {
            Error::Usage("a stream's results must be read before more is submitted".into())
        })?;
        let bytes = (self.state.len * 4) as u64;
        let mut encoder = (self.device.device).create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for run in runs {
                run.record(&mut pass);
            }
        }
        encoder.copy_buffer_to_buffer(&self.state.buffer, 0, &buffer, 0, bytes);
        let submission = self.device.queue.submit([encoder.finish()]);
        let (send, mapped) = mpsc::channel();
        buffer.map_async(wgpu::MapMode::Read, .., move |r| {
            // The receiver is gone only where the stream is.
            let _ = send.send(r);
        });
        self.pending.push_back(Pending {
            buffer,
            submission,
            mapped,
        });
        self.device.check()
    }

    /// The state after the oldest submission not read yet, once it has run; `None` where none is pending.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] where the device went.
    pub fn receive(&mut self) -> Result<Option<Vec<u32>>> {
        let Some(p) = self.pending.pop_front() else {
            return Ok(None);
        };
        let polled = self.device.device.poll(wgpu::PollType::Wait {
            submission_index: Some(p.submission),
            timeout: None,
        });
        self.device.check()?;
        polled.map_err(|e| Error::Device(format!("adapter `{}`: {e}", self.device.name)))?;
        let fault = |what: String| Error::Device(format!("reading back: {what}"));
        match p.mapped.recv() {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(fault(e.to_string())),
            Err(_) => return Err(fault("no answer".into())),
        }
        let view = (p.buffer.get_mapped_range(..)).map_err(|e| fault(e.to_string()))?;
        let words = bytemuck::cast_slice(&view[..self.state.len * 4]).to_vec();
        drop(view);
        p.buffer.unmap();
        self.free.push(p.buffer);
        Ok(Some(words))
    }

    /// Waits for everything submitted and forgets its results.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] where the device went.
    pub fn drain(&mut self) -> Result<()> {
        while self.receive()?.is_some() {}
        Ok(())
    }
}
