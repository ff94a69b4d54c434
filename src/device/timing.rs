//! GPU time by timestamp queries.

use super::{Executable, Timestamps};
use crate::error::{Error, Result};

/// GPU times of one run, in milliseconds.
#[derive(Clone, Debug)]
pub struct Timings {
    /// From the begin of the first dispatch to the end of the last.
    pub total_ms: f64,
    /// For each dispatch; empty where only the whole was timed.
    pub dispatches_ms: Vec<f64>,
}

impl Executable {
    /// GPU time of the whole plan in milliseconds, once for each of `runs` runs, without any timestamp
    /// between dispatches.
    ///
    /// # Errors
    /// [`Error::Device`] where the adapter has no timestamps.
    pub fn time(&self, runs: usize) -> Result<Vec<f64>> {
        (0..runs)
            .map(|_| Ok(self.timed(Timestamps::Passes)?.total_ms))
            .collect()
    }

    /// GPU time of every dispatch. Where the adapter times passes only, each dispatch is a pass of its own.
    ///
    /// # Errors
    /// [`Error::Device`] where the adapter has no timestamps.
    pub fn profile(&self) -> Result<Timings> {
        self.timed(Timestamps::Dispatches)
    }

    fn timed(&self, want: Timestamps) -> Result<Timings> {
        let d = &self.device;
        d.check()?;
        if d.timestamps == Timestamps::None {
            return Err(Error::Device(format!(
                "adapter `{}` has no timestamps; time whole runs on the host instead",
                d.name
            )));
        }
        let n = self.steps.len();
        let each = want == Timestamps::Dispatches;
        let inside = each && d.timestamps == Timestamps::Dispatches;
        let count = match (each, inside) {
            (false, _) => 2,
            (true, true) => n as u32 + 1,
            (true, false) => 2 * n as u32,
        };
        if count > wgpu::QUERY_SET_MAX_QUERIES {
            return Err(Error::Device(format!(
                "{n} dispatches are too many to time at once"
            )));
        }
        let queries = d.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timestamps"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        use wgpu::BufferUsages as U;
        let bytes = u64::from(count) * 8;
        let resolved = d.buffer("timestamps", bytes, U::QUERY_RESOLVE | U::COPY_SRC)?;
        let readable = d.buffer("timestamps", bytes, U::COPY_DST | U::MAP_READ)?;
        let mut encoder = d.device.create_command_encoder(&Default::default());
        let writes = |begin, end| wgpu::ComputePassTimestampWrites {
            query_set: &queries,
            beginning_of_pass_write_index: begin,
            end_of_pass_write_index: end,
        };
        if each && !inside {
            for (i, step) in self.steps.iter().enumerate() {
                let i = i as u32;
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: None,
                    timestamp_writes: Some(writes(Some(2 * i), Some(2 * i + 1))),
                });
                step.record(&mut pass);
            }
        } else {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(writes(Some(0), (!inside).then_some(1))),
            });
            for (i, step) in self.steps.iter().enumerate() {
                step.record(&mut pass);
                if inside {
                    pass.write_timestamp(&queries, i as u32 + 1);
                }
            }
        }
        encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
        encoder.copy_buffer_to_buffer(&resolved, 0, &readable, 0, bytes);
        d.queue.submit([encoder.finish()]);
        let data = d.read(&readable, bytes)?;
        let (ticks, _) = data.as_chunks::<8>();
        let ticks: Vec<u64> = ticks.iter().map(|&b| u64::from_le_bytes(b)).collect();
        let period = f64::from(d.queue.get_timestamp_period());
        let ms = |a: u64, b: u64| b.saturating_sub(a) as f64 * period * 1e-6;
        let dispatches_ms: Vec<f64> = match (each, inside) {
            (false, _) => Vec::new(),
            (true, true) => ticks.windows(2).map(|w| ms(w[0], w[1])).collect(),
            (true, false) => ticks.chunks(2).map(|w| ms(w[0], w[1])).collect(),
        };
        let total_ms = match ticks.as_slice() {
            [first, .., last] => ms(*first, *last),
            _ => 0.0,
        };
        Ok(Timings {
            total_ms,
            dispatches_ms,
        })
    }
}
