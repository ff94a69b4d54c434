//! How many distributions there is room for.

use super::OnlineSettings;
use crate::engine::distill::few_below;
use crate::engine::language::Language;
use crate::shader::Caps;

/// Held-out rows that an update is judged by: the last so many, and all of the last buffer. An update learns from as many
/// at least, where so many are remembered.
const CANARY: usize = 256;
/// Rows of a run of the device, at most: each has logits and their gradients.
const RUN: usize = 2048;

/// Distributions that there is room for, each of a whole vocabulary in f32: by the settings, and by what the adapter
/// binds at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capacity {
    /// Until an update takes them.
    pub buffer: usize,
    /// In the trainer's table: those that an update takes, held out ones, and those of earlier buffers that are
    /// remembered.
    pub table: usize,
    pub held: usize,
    pub remembered: usize,
    /// Of a run of the device, at most.
    pub run: usize,
}

impl Capacity {
    /// Of distributions of `target`.
    pub fn of(s: &OnlineSettings, target: &Language) -> Self {
        Self::over(s, target.config().vocab(), target.device().caps())
    }

    fn over(s: &OnlineSettings, vocab: usize, caps: &Caps) -> Self {
        let row = 4 * vocab.max(1) as u64;
        let rows = |bytes: u64| usize::try_from(bytes / row).unwrap_or(usize::MAX);
        let (all, bound) = (rows(s.max_bytes), rows(caps.max_binding_bytes));
        let held = CANARY.min(all / 16).min(bound / 4).max(1);
        // Of a buffer of n rows the table has n and a quarter, twice those held out, and n more that are remembered.
        let fit = (all.saturating_sub(2 * held) / 13).min(bound.saturating_sub(2 * held) / 9) * 4;
        let buffer = s.max_rows.min(fit).max(1);
        let remembered = s.remember.min(buffer);
        Self {
            buffer,
            table: buffer + buffer / 4 + 2 * held + remembered,
            held,
            remembered,
            run: few_below(RUN.min(bound)),
        }
    }

    /// Of the buffer, what is on the device for sequences of `positions`: compressed rows are free again when a request
    /// ends.
    pub fn ring(&self, s: &OnlineSettings, positions: usize) -> usize {
        match s.keep_top {
            Some(_) => self.buffer.min(positions.max(1)),
            None => self.buffer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fit_what_an_adapter_binds_and_what_they_may_take() {
        let settings = OnlineSettings::default();
        for (vocab, binding) in [
            (2048, 1 << 31),
            (2048, 4 << 20),
            (32_000, 1 << 31),
            (32_000, 128 << 20),
            (151_936, 128 << 20),
            (262_144, 128 << 20),
        ] {
            let caps = Caps {
                max_binding_bytes: binding,
                ..Caps::default()
            };
            let c = Capacity::over(&settings, vocab, &caps);
            let row = 4 * vocab as u64;
            assert!(c.buffer >= 24 && c.held >= 16, "{vocab}, {binding}: {c:?}");
            assert!(
                [c.buffer, c.table, c.run]
                    .iter()
                    .all(|&n| n as u64 * row <= binding)
            );
            assert!((c.buffer + c.table) as u64 * row <= settings.max_bytes);
        }
        let c = Capacity::over(&settings, 2048, &Caps::default());
        assert_eq!((c.held, c.remembered, c.run), (256, 1024, 2048));
    }
}
