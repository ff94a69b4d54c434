//! Buffers: uploads in slices, fills, readback.

use super::Inner;
use crate::error::{Error, Result};
use crate::tensor::DType;
use half::f16;
use half::slice::HalfFloatSliceExt;
use std::num::NonZeroU64;
use std::sync::Mutex;

/// Uploads go in slices of at most this many bytes: a failed allocation of wgpu's own staging memory would
/// lose the device.
const UPLOAD_BYTES: usize = 32 << 20;

/// What a thread fills at a time.
const BLOCK_BYTES: usize = 256 << 10;

/// An array in pieces, one after the other, each of whole elements.
#[derive(Clone, Copy)]
pub(super) struct Pieces<'a> {
    pub dtype: DType,
    pub bytes: &'a [&'a [u8]],
}

impl Pieces<'_> {
    /// Whether [`Inner::upload_as`] stores it as `dtype`.
    pub fn becomes(&self, dtype: DType) -> bool {
        self.dtype == dtype || (self.dtype, dtype) == (DType::F32, DType::F16)
    }
}

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

    /// Writes `pieces`, stored as `dtype`, to the start of `buffer`, before anything submitted later. They are converted
    /// in the staging memory, on all cores where they are many.
    pub(super) fn upload_as(&self, buffer: &wgpu::Buffer, pieces: Pieces<'_>, dtype: DType) {
        debug_assert!(pieces.becomes(dtype));
        let ends: Vec<usize> = (pieces.bytes.iter())
            .scan(0, |end, piece| {
                *end += piece.len();
                Some(*end)
            })
            .collect();
        let bytes = ends.last().map_or(0, |end| end / pieces.dtype.bytes()) * dtype.bytes();
        let mut at = 0;
        while at < bytes {
            let take = (bytes - at).min(UPLOAD_BYTES).next_multiple_of(4);
            let view = NonZeroU64::new(take as u64)
                .and_then(|size| self.queue.write_buffer_with(buffer, at as u64, size));
            // What wgpu refused is told by the next check.
            let Some(mut view) = view else { return };
            let (blocks, last) = view.slice(..).into_chunks::<BLOCK_BYTES>();
            let count = blocks.len();
            let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
            let threads = threads.min(count / 4).max(1);
            let blocks: Vec<_> = blocks.into_iter().enumerate().collect();
            let blocks = Mutex::new(blocks.into_iter());
            let work = || {
                let next = || blocks.lock().ok()?.next();
                while let Some((i, block)) = next() {
                    fill(block.into(), at + i * BLOCK_BYTES, pieces, &ends, dtype);
                }
            };
            std::thread::scope(|scope| {
                for _ in 1..threads {
                    scope.spawn(work);
                }
                work();
            });
            fill(last, at + count * BLOCK_BYTES, pieces, &ends, dtype);
            drop(view);
            at += take;
            if at < bytes {
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

/// Fills `out`, which begins at byte `at` of what is stored, with its part of `pieces`; what is beyond becomes 0.
fn fill(
    mut out: wgpu::WriteOnly<'_, [u8]>,
    at: usize,
    pieces: Pieces<'_>,
    ends: &[usize],
    dtype: DType,
) {
    let halved = pieces.dtype != dtype;
    let mut from = if halved { 2 * at } else { at };
    let mut scratch = [f16::ZERO; 4096];
    let mut piece = ends.partition_point(|&end| end <= from);
    while !out.is_empty() && piece < ends.len() {
        let begin = ends[piece] - pieces.bytes[piece].len();
        let rest = &pieces.bytes[piece][from - begin..];
        let (used, stored): (usize, &[u8]) = if halved {
            let values = rest.len().min(2 * out.len()) / 4;
            let values = values.min(scratch.len());
            let halves = &mut scratch[..values];
            match bytemuck::try_cast_slice(&rest[..4 * values]) {
                Ok(aligned) => halves.convert_from_f32_slice(aligned),
                Err(_) => {
                    for (half, &word) in halves.iter_mut().zip(rest.as_chunks().0) {
                        *half = f16::from_f32(f32::from_le_bytes(word));
                    }
                }
            }
            (4 * values, bytemuck::cast_slice(halves))
        } else {
            let bytes = rest.len().min(out.len());
            (bytes, &rest[..bytes])
        };
        let (now, later) = out.split_at(stored.len());
        let mut now = now;
        now.copy_from_slice(stored);
        out = later;
        from += used;
        while piece < ends.len() && ends[piece] <= from {
            piece += 1;
        }
    }
    out.fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(pieces: &[&[u8]], from: DType, to: DType, at: usize, len: usize) -> Vec<u8> {
        let ends: Vec<usize> = (0..pieces.len())
            .map(|i| pieces[..=i].iter().map(|p| p.len()).sum())
            .collect();
        let mut out = vec![0xAA; len];
        let pieces = Pieces {
            dtype: from,
            bytes: pieces,
        };
        let view = wgpu::WriteOnly::from_mut(out.as_mut_slice());
        fill(view, at, pieces, &ends, to);
        out
    }

    #[test]
    fn pieces_come_one_after_the_other() {
        let pieces: [&[u8]; 4] = [&[1, 2, 3, 4], &[], &[5, 6, 7, 8, 9, 10, 11, 12], &[13, 14]];
        let whole = stored(&pieces, DType::F32, DType::F32, 0, 16);
        assert_eq!(whole, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0, 0]);
        assert_eq!(
            stored(&pieces, DType::F32, DType::F32, 8, 4),
            [9, 10, 11, 12]
        );
    }

    #[test]
    fn floats_are_halved_from_any_place_and_alignment() {
        let values: Vec<f32> = (0..9001).map(|i| i as f32 / 7.0).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let halves: Vec<u8> = (values.iter())
            .flat_map(|&v| f16::from_f32(v).to_le_bytes())
            .collect();
        let mut odd = vec![0];
        odd.extend(&bytes[4000..]);
        let pieces: [&[u8]; 2] = [&bytes[..4000], &odd[1..]];
        for (at, len) in [(0, 18_004), (1998, 8), (4096, 8192), (17_996, 8)] {
            let mut want = halves[at..(at + len).min(halves.len())].to_vec();
            want.resize(len, 0);
            let found = stored(&pieces, DType::F32, DType::F16, at, len);
            assert!(found == want, "{len} bytes from {at}");
        }
    }
}
