//! A plan's constants on the device: each built once, however many plans of a store read it, many in one buffer.

use super::Inner;
use crate::error::Result;
use crate::graph::{Encode, Pack, Source};
use crate::plan::{Plan, Role};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What returns a checkpoint's tensor in row-major order.
pub type Read<'a> = dyn Fn(&Source) -> Result<Vec<f32>> + Sync + 'a;

/// Part of a wgpu buffer.
#[derive(Clone)]
pub(super) struct Range {
    pub buffer: wgpu::Buffer,
    pub offset: u64,
    pub bytes: u64,
}

/// Constants on a device, by the name of the first weight in them.
#[derive(Default)]
pub(super) struct Constants {
    made: HashMap<String, Vec<(Vec<Pack>, Encode, Range)>>,
}

fn key(packs: &[Pack]) -> &str {
    packs.first().map_or("", |p| &p.weight.name)
}

impl Constants {
    fn find(&self, packs: &[Pack], encode: Encode) -> Option<&Range> {
        (self.made.get(key(packs))?.iter())
            .find(|(p, e, _)| p == packs && *e == encode)
            .map(|(_, _, range)| range)
    }

    pub fn all(&self) -> Vec<(Vec<Pack>, Encode)> {
        let all = self.made.values().flatten();
        all.map(|(packs, encode, _)| (packs.clone(), *encode))
            .collect()
    }

    pub fn bytes(&self) -> u64 {
        self.made.values().flatten().map(|(_, _, r)| r.bytes).sum()
    }

    /// Builds every constant again from `read` and uploads it to where it is. Nothing is changed where one cannot be
    /// built.
    pub fn rewrite(&self, d: &Inner, read: &Read<'_>) -> Result<()> {
        let mut all = Vec::new();
        for (packs, encode, range) in self.made.values().flatten() {
            let mut data = Vec::new();
            for pack in packs {
                data.extend(pack.fill(&pack.weight.values(read)?));
            }
            all.push((range, encode.bytes(&data)));
        }
        for (range, bytes) in all {
            d.upload(&range.buffer, range.offset, &bytes);
        }
        Ok(())
    }

    /// Gives every constant of `plan` its range: what is not there yet is built from `read` and uploaded into shared
    /// buffers, each constant at an aligned offset.
    pub fn load(
        &mut self,
        d: &Inner,
        plan: &Plan,
        read: &Read<'_>,
        ranges: &mut [Option<Range>],
    ) -> Result<()> {
        let align = u64::from(d.caps.offset_alignment).max(4);
        let most = d.caps.max_buffer_bytes.min(1 << 30);
        let mut groups: Vec<(u64, Vec<(usize, u64)>)> = Vec::new();
        for (i, b) in plan.buffers.iter().enumerate() {
            let Role::Constant(packs, encode) = &b.role else {
                continue;
            };
            if let Some(range) = self.find(packs, *encode) {
                ranges[i] = Some(range.clone());
                continue;
            }
            match groups.last_mut() {
                Some((size, members)) if *size + b.bytes() <= most => {
                    members.push((i, *size));
                    *size = (*size + b.bytes()).next_multiple_of(align);
                }
                _ => groups.push((b.bytes().next_multiple_of(align), vec![(i, 0)])),
            }
        }
        let mut places = Vec::new();
        for (size, members) in groups {
            use wgpu::BufferUsages as U;
            let buffer = d.buffer("weights", size, U::STORAGE | U::COPY_SRC | U::COPY_DST)?;
            for (i, offset) in members {
                places.push(i);
                ranges[i] = Some(Range {
                    buffer: buffer.clone(),
                    offset,
                    bytes: plan.buffers[i].bytes().next_multiple_of(4),
                });
            }
        }
        build(plan, &places, read, |i, bytes| {
            if let Some(range) = &ranges[i] {
                d.upload(&range.buffer, range.offset, &bytes);
            }
        })?;
        for i in places {
            if let (Role::Constant(packs, encode), Some(range)) =
                (&plan.buffers[i].role, &ranges[i])
            {
                let made = self.made.entry(key(packs).to_string()).or_default();
                made.push((packs.clone(), *encode, range.clone()));
            }
        }
        Ok(())
    }
}

/// Builders that work at a time: each holds a weight in f32.
const BUILDERS: usize = 8;

/// Builds the constants `which` of `plan` on several threads and hands each to `done`, on this one, as it comes.
fn build(
    plan: &Plan,
    which: &[usize],
    read: &Read<'_>,
    mut done: impl FnMut(usize, Vec<u8>),
) -> Result<()> {
    let one = |i: usize| -> Result<Vec<u8>> {
        let Role::Constant(packs, encode) = &plan.buffers[i].role else {
            return Ok(Vec::new());
        };
        let mut data = Vec::new();
        for pack in packs {
            let values = pack.fill(&pack.weight.values(read)?);
            if data.is_empty() {
                data = values;
            } else {
                data.extend(values);
            }
        }
        Ok(encode.bytes(&data))
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads = threads.min(BUILDERS).min(which.len());
    if threads < 2 {
        for &i in which {
            done(i, one(i)?);
        }
        return Ok(());
    }
    let next = AtomicUsize::new(0);
    let (send, built) = std::sync::mpsc::sync_channel(1);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (send, next, one) = (send.clone(), &next, &one);
            scope.spawn(move || {
                while let Some(&i) = which.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // Nobody listens any more where another has failed.
                    if send.send(one(i).map(|bytes| (i, bytes))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        for result in built {
            let (i, bytes) = result?;
            done(i, bytes);
        }
        Ok(())
    })
}
