//! A plan's constants on the device: each weight built once, all of them in shared buffers.

use super::Inner;
use crate::error::Result;
use crate::graph::Source;
use crate::plan::{Plan, Role};
use crate::tensor::{DType, encode_f16};
use std::collections::HashMap;
use std::sync::Arc;

/// Part of a wgpu buffer.
#[derive(Clone)]
pub(super) struct Range {
    pub buffer: wgpu::Buffer,
    pub offset: u64,
    pub bytes: u64,
}

/// Builds every constant's values and uploads them into shared buffers, each at an aligned offset.
pub(super) fn constants(
    d: &Inner,
    plan: &Plan,
    read: &dyn Fn(&Source) -> Result<Vec<f32>>,
    ranges: &mut [Option<Range>],
) -> Result<()> {
    let align = u64::from(d.caps.offset_alignment).max(4);
    let most = d.caps.max_buffer_bytes.min(1 << 30);
    let mut groups: Vec<(u64, Vec<(usize, u64)>)> = Vec::new();
    for (i, b) in plan.buffers.iter().enumerate() {
        if !matches!(b.role, Role::Constant(_)) {
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
    let mut values: HashMap<String, Arc<Vec<f32>>> = HashMap::new();
    for (size, members) in groups {
        use wgpu::BufferUsages as U;
        let buffer = d.buffer("weights", size, U::STORAGE | U::COPY_DST)?;
        for (i, offset) in members {
            let b = &plan.buffers[i];
            let Role::Constant(packs) = &b.role else {
                continue;
            };
            let mut data = Vec::with_capacity(b.len);
            for pack in packs {
                let name = &pack.weight.name;
                let weight = match values.get(name) {
                    Some(v) => v.clone(),
                    None => {
                        let v = Arc::new(pack.weight.values(read)?);
                        values.insert(name.clone(), v.clone());
                        v
                    }
                };
                data.extend(pack.fill(&weight));
            }
            match b.dtype {
                DType::F16 => d.upload(&buffer, offset, &encode_f16(&data)),
                _ => d.upload(&buffer, offset, bytemuck::cast_slice(&data)),
            }
            ranges[i] = Some(Range {
                buffer: buffer.clone(),
                offset,
                bytes: b.bytes().next_multiple_of(4),
            });
        }
    }
    Ok(())
}
