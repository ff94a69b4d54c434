//! Dispatches of a plan submitted in parts, between which other work of the device comes, and the time of each.

use super::{Device, Executable, Inner, Timestamps};
use crate::error::{Error, Result};
use std::ops::Range;
use std::sync::{Arc, mpsc};
use std::time::Instant;

/// Submits parts of runs, one after the other, and tells how long the device took for each without waiting for what was
/// submitted after it. Where the adapter has no timestamps, each part is waited for when it is submitted.
pub struct Parts {
    device: Arc<Inner>,
    /// Where the adapter has timestamps.
    queries: Option<(wgpu::QuerySet, wgpu::Buffer)>,
    ticks: wgpu::Buffer,
    pending: Option<Pending>,
    /// Milliseconds of a part that was waited for.
    waited: Option<f64>,
}

struct Pending {
    submission: wgpu::SubmissionIndex,
    mapped: mpsc::Receiver<Result<(), wgpu::BufferAsyncError>>,
}

const BYTES: u64 = 16;
/// Dispatches of a submission, at most: the device runs one while the next is written.
const AT_ONCE: usize = 48;

impl Parts {
    /// # Errors
    /// [`Error::Device`] where memory is short.
    pub fn new(device: &Device) -> Result<Self> {
        use wgpu::BufferUsages as U;
        let d = &device.inner;
        let resolved = d.buffer("timestamps", BYTES, U::QUERY_RESOLVE | U::COPY_SRC)?;
        let queries = (d.timestamps != Timestamps::None).then(|| {
            let set = d.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            });
            (set, resolved)
        });
        Ok(Self {
            ticks: d.buffer("timestamps", BYTES, U::COPY_DST | U::MAP_READ)?,
            queries,
            device: d.clone(),
            pending: None,
            waited: None,
        })
    }

    /// Submits dispatches `steps` of `run`, and after the last one the copy of its outputs for
    /// [`Executable::download`]; when the first of them were submitted.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub fn submit(&mut self, run: &Executable, steps: Range<usize>) -> Result<Instant> {
        self.wait()?;
        let d = &self.device;
        if self.queries.is_none() {
            d.wait()?;
        }
        let (mut at, mut submitted) = (steps.start, None);
        let submission = loop {
            let end = steps.end.min(at + AT_ONCE);
            let mut encoder = d.device.create_command_encoder(&Default::default());
            {
                let (first, last) = (at == steps.start, end == steps.end);
                let queries = self.queries.as_ref().filter(|_| first || last);
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: None,
                    timestamp_writes: queries.map(|(set, _)| wgpu::ComputePassTimestampWrites {
                        query_set: set,
                        beginning_of_pass_write_index: first.then_some(0),
                        end_of_pass_write_index: last.then_some(1),
                    }),
                });
                for step in run.steps.iter().take(end).skip(at) {
                    step.record(&mut pass);
                }
            }
            at = end;
            if at < steps.end {
                d.queue.submit([encoder.finish()]);
                submitted.get_or_insert_with(Instant::now);
                continue;
            }
            if steps.end >= run.steps.len() {
                run.copy_outputs(&mut encoder);
            }
            if let Some((set, resolved)) = &self.queries {
                encoder.resolve_query_set(set, 0..2, resolved, 0);
                encoder.copy_buffer_to_buffer(resolved, 0, &self.ticks, 0, BYTES);
            }
            break d.queue.submit([encoder.finish()]);
        };
        let begun = submitted.unwrap_or_else(Instant::now);
        run.submitted(&submission);
        if self.queries.is_none() {
            d.wait_for(submission)?;
            self.waited = Some(begun.elapsed().as_secs_f64() * 1e3);
            return d.check().map(|()| begun);
        }
        let (send, mapped) = mpsc::channel();
        self.ticks.map_async(wgpu::MapMode::Read, .., move |r| {
            // The receiver is gone only where these parts are.
            let _ = send.send(r);
        });
        self.pending = Some(Pending { submission, mapped });
        d.check().map(|()| begun)
    }

    /// Milliseconds of the device for the last part, once it has run. `None` where that was told before.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] where the device went.
    pub fn wait(&mut self) -> Result<Option<f64>> {
        let Some(p) = self.pending.take() else {
            return Ok(self.waited.take());
        };
        let d = &self.device;
        d.wait_for(p.submission)?;
        let fault = |what: String| Error::Device(format!("reading times: {what}"));
        match p.mapped.recv() {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(fault(e.to_string())),
            Err(_) => return Err(fault("no answer".into())),
        }
        let view = (self.ticks.get_mapped_range(..)).map_err(|e| fault(e.to_string()))?;
        let (ticks, _) = view.as_chunks::<8>();
        let ticks: Vec<u64> = ticks.iter().map(|&b| u64::from_le_bytes(b)).collect();
        drop(view);
        self.ticks.unmap();
        let took = match ticks[..] {
            [begun, ended, ..] => ended.saturating_sub(begun),
            _ => 0,
        };
        let period = f64::from(d.queue.get_timestamp_period());
        Ok(Some(took as f64 * period * 1e-6))
    }
}
