//! A plan's constants on the device: each built once, however many plans of a store read it, many in one buffer.

use super::Inner;
use crate::error::Result;
use crate::graph::{Encode, Pack, Source};
use crate::plan::{Plan, Role};
use std::collections::HashMap;
use std::sync::Arc;

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

    pub fn bytes(&self) -> u64 {
        self.made.values().flatten().map(|(_, _, r)| r.bytes).sum()
    }

    /// Gives every constant of `plan` its range: what is not there yet is built from `read` and uploaded into shared
    /// buffers, each constant at an aligned offset.
    pub fn load(
        &mut self,
        d: &Inner,
        plan: &Plan,
        read: &dyn Fn(&Source) -> Result<Vec<f32>>,
        ranges: &mut [Option<Range>],
    ) -> Result<()> {
        let align = u64::from(d.caps.offset_alignment).max(4);
        let most = d.caps.max_buffer_bytes.min(1 << 30);
        let mut groups: Vec<(u64, Vec<(usize, u64)>)> = Vec::new();
        // How often a weight's values are still needed: kept no longer than that.
        let mut needed: HashMap<&str, usize> = HashMap::new();
        for (i, b) in plan.buffers.iter().enumerate() {
            let Role::Constant(packs, encode) = &b.role else {
                continue;
            };
            if let Some(range) = self.find(packs, *encode) {
                ranges[i] = Some(range.clone());
                continue;
            }
            for pack in packs {
                *needed.entry(&pack.weight.name).or_default() += 1;
            }
            match groups.last_mut() {
                Some((size, members)) if *size + b.bytes() <= most => {
                    members.push((i, *size));
                    *size = (*size + b.bytes()).next_multiple_of(align);
                }
                _ => groups.push((b.bytes().next_multiple_of(align), vec![(i, 0)])),
            }
        }
        let mut values: HashMap<&str, Arc<Vec<f32>>> = HashMap::new();
        for (size, members) in groups {
            use wgpu::BufferUsages as U;
            let buffer = d.buffer("weights", size, U::STORAGE | U::COPY_SRC | U::COPY_DST)?;
            for (i, offset) in members {
                let b = &plan.buffers[i];
                let Role::Constant(packs, encode) = &b.role else {
                    continue;
                };
                let mut data = Vec::new();
                for pack in packs {
                    let name = pack.weight.name.as_str();
                    let weight = match values.get(name) {
                        Some(v) => v.clone(),
                        None => Arc::new(pack.weight.values(read)?),
                    };
                    data.extend(pack.fill(&weight));
                    if let Some(left) = needed.get_mut(name) {
                        *left -= 1;
                        if *left == 0 {
                            values.remove(name);
                        } else {
                            values.insert(name, weight);
                        }
                    }
                }
                d.upload(&buffer, offset, &encode.bytes(&data));
                let range = Range {
                    buffer: buffer.clone(),
                    offset,
                    bytes: b.bytes().next_multiple_of(4),
                };
                ranges[i] = Some(range.clone());
                let made = self.made.entry(key(packs).to_string()).or_default();
                made.push((packs.clone(), *encode, range));
            }
        }
        Ok(())
    }
}
