//! Buffers: uploads in slices, fills, readback.

use super::Inner;
use crate::error::{Error, Result};

/// Uploads go in slices of at most this many bytes: a failed allocation of wgpu's own staging memory would
/// lose the device.
const UPLOAD_BYTES: usize = 32 << 20;

impl Inner {
    /// A buffer of `bytes`, rounded up to 4.
    pub fn buffer(
        &self,
        label: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer> {
        if bytes > self.caps.max_buffer_bytes {
            return Err(Error::Device(format!(
                "{label} needs a buffer of {bytes} bytes; adapter `{}` allows {}. Use a smaller batch",
                self.name, self.caps.max_buffer_bytes
            )));
        }
        self.scoped(label, || {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: bytes.next_multiple_of(4).max(4),
                usage,
                mapped_at_creation: false,
            })
        })
    }

    /// Writes `data` (whole words) at `offset` bytes, before anything submitted later.
    pub fn upload(&self, buffer: &wgpu::Buffer, offset: u64, data: &[u8]) {
        let mut at = offset;
        for slice in data.chunks(UPLOAD_BYTES) {
            if slice.len().is_multiple_of(4) {
                self.queue.write_buffer(buffer, at, slice);
            } else {
                let mut whole = slice.to_vec();
                whole.resize(slice.len().next_multiple_of(4), 0);
                self.queue.write_buffer(buffer, at, &whole);
            }
            at += slice.len() as u64;
            if slice.len() == UPLOAD_BYTES {
                self.queue.submit([]);
            }
        }
    }

    /// The first `bytes` of a mapped-for-read `buffer`, once everything submitted has run.
    pub fn read(&self, buffer: &wgpu::Buffer, bytes: u64) -> Result<Vec<u8>> {
        self.read_after(buffer, bytes, None)
    }

    /// As [`Inner::read`], once `submission`, the last that writes it, has run.
    pub fn read_after(
        &self,
        buffer: &wgpu::Buffer,
        bytes: u64,
        submission: Option<wgpu::SubmissionIndex>,
    ) -> Result<Vec<u8>> {
        let range = 0..bytes.next_multiple_of(4);
        let (send, receive) = std::sync::mpsc::channel();
        buffer.map_async(wgpu::MapMode::Read, range.clone(), move |r| {
            // The receiver is gone only where the wait below has failed.
            let _ = send.send(r);
        });
        match submission {
            Some(submission) => self.wait_for(submission)?,
            None => self.wait()?,
        }
        match receive.recv() {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(Error::Device(format!("reading back: {e}"))),
            Err(_) => return Err(Error::Device("reading back: no answer".into())),
        }
        let view = buffer
            .get_mapped_range(range)
            .map_err(|e| Error::Device(format!("reading back: {e}")))?;
        let data = view[..bytes as usize].to_vec();
        drop(view);
        buffer.unmap();
        Ok(data)
    }
}
