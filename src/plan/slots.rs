//! Memory: buffers that are never needed at the same time share a slot.

use super::{Buffer, Port, Role, Step};

/// Gives each buffer that dispatches write a slot, largest first, and returns the slots' bytes.
///
/// A slot is a whole buffer of the device: WebGPU tracks usage by buffer, and one that is bound for reading
/// and for writing in the same dispatch is an error.
pub(super) fn assign(buffers: &mut [Buffer], steps: &[Step], outputs: &[Port]) -> Vec<u64> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; buffers.len()];
    for (at, step) in steps.iter().enumerate() {
        for arg in &step.dispatch.args {
            let life = lives[arg.0].get_or_insert((at, at));
            life.1 = at;
        }
    }
    for port in outputs {
        if let Some(life) = &mut lives[port.buffer] {
            life.1 = steps.len();
        }
    }
    let mut order: Vec<usize> = (0..buffers.len())
        .filter(|&i| matches!(buffers[i].role, Role::Slot(_)))
        .collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].bytes()), i));
    let mut slots: Vec<(u64, Vec<(usize, usize)>)> = Vec::new();
    for i in order {
        let Some((first, last)) = lives[i] else {
            // Nothing uses it: an op that was tried and dropped.
            buffers[i].role = Role::Slot(0);
            buffers[i].len = 0;
            continue;
        };
        let free = |taken: &[(usize, usize)]| taken.iter().all(|&(f, l)| last < f || l < first);
        let at = match slots.iter().position(|(_, taken)| free(taken)) {
            Some(at) => at,
            None => {
                slots.push((buffers[i].bytes(), Vec::new()));
                slots.len() - 1
            }
        };
        slots[at].1.push((first, last));
        buffers[i].role = Role::Slot(at);
    }
    slots.into_iter().map(|s| s.0).collect()
}
