//! The replay buffer Q of Algorithm 1 of "Online Speculative Decoding" (arXiv 2310.07177): what verification yields
//! until an update takes it. Distributions lie on the device, and here is where; or they are on the host, compressed.

use super::row::Row;
use crate::engine::language::Kept;
use std::time::Duration;

/// A request's tokens, and the distributions of the target that were kept of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// All that its rows see.
    pub tokens: Vec<u32>,
    /// The first so many were the prompt.
    pub prompt: usize,
    /// What an encoder read, where there is one.
    pub read: Vec<u32>,
    /// In the order of the sequence.
    pub rows: Vec<Kept>,
    /// The distributions of `rows` where they are on the host, their slots given back; `None` of one that was none.
    pub(super) compressed: Option<Vec<Option<Row>>>,
    since: Duration,
}

/// Why an update is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    Interval,
    Rows,
    Age,
}

/// The buffer.
#[derive(Clone, Debug)]
pub struct Replay {
    interval: usize,
    max_rows: usize,
    max_age: Duration,
    requests: usize,
    rows: usize,
    /// Of what is on the host, and how many make an update due.
    bytes: u64,
    max_bytes: u64,
    examples: Vec<Example>,
}

impl Replay {
    /// One that is due after `interval` requests, `max_rows` rows, or when its oldest is `max_age` old.
    pub fn new(interval: usize, max_rows: usize, max_age: Duration) -> Self {
        Self {
            interval,
            max_rows,
            max_age,
            requests: 0,
            rows: 0,
            bytes: 0,
            max_bytes: u64::MAX,
            examples: Vec::new(),
        }
    }

    /// Adds what was kept of a request at time `now`; the rows that there is no room for are returned.
    pub fn push(&mut self, tokens: &[u32], mut rows: Vec<Kept>, now: Duration) -> Vec<u32> {
        self.requests += 1;
        let room = self.max_rows - self.rows;
        let over = rows.split_off(room.min(rows.len()));
        if let Some(last) = rows.last() {
            self.rows += rows.len();
            self.examples.push(Example {
                tokens: tokens[..=last.position].to_vec(),
                prompt: 0,
                read: Vec::new(),
                rows,
                compressed: None,
                since: now,
            });
        }
        over.into_iter().map(|k| k.slot).collect()
    }

    /// As many bytes of distributions on the host make an update due.
    pub(super) fn bound(&mut self, max_bytes: u64) {
        self.max_bytes = max_bytes;
    }

    /// What the last request brought, if it brought any and is not compressed.
    pub(super) fn last(&mut self) -> Option<&mut Example> {
        self.examples.last_mut().filter(|e| e.compressed.is_none())
    }

    /// Puts the distributions of the last request on the host; returns the slots that are free again.
    pub(super) fn compress(&mut self, rows: Vec<Option<Row>>) -> Vec<u32> {
        let Some(last) = self.examples.last_mut() else {
            return Vec::new();
        };
        self.bytes += rows.iter().flatten().map(|r| r.bytes() as u64).sum::<u64>();
        last.compressed = Some(rows);
        last.rows.iter().map(|k| k.slot).collect()
    }

    /// Bytes of distributions on the host.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether an update is due at time `now`, and why. Never without a row.
    pub fn due(&self, now: Duration) -> Option<Trigger> {
        let oldest = self.examples.first()?.since;
        if self.requests >= self.interval {
            Some(Trigger::Interval)
        } else if self.rows >= self.max_rows || self.bytes >= self.max_bytes {
            Some(Trigger::Rows)
        } else if now.saturating_sub(oldest) >= self.max_age {
            Some(Trigger::Age)
        } else {
            None
        }
    }

    /// Empties it.
    pub fn take(&mut self) -> Vec<Example> {
        (self.requests, self.rows, self.bytes) = (0, 0, 0);
        std::mem::take(&mut self.examples)
    }

    pub fn rows(&self) -> usize {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::{Kept, Replay, Trigger};
    use std::time::Duration;

    fn rows(n: usize, slot: u32) -> Vec<Kept> {
        (0..n)
            .map(|i| Kept {
                position: 3 + 2 * i,
                slot: slot + i as u32,
            })
            .collect()
    }

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn each_trigger_makes_it_due() {
        let tokens: Vec<u32> = (0..40).collect();
        let mut q = Replay::new(2, 8, 10 * S);
        assert_eq!(q.due(100 * S), None);
        assert!(q.push(&tokens, rows(2, 0), S).is_empty());
        assert_eq!(q.due(5 * S), None);
        assert_eq!(q.due(11 * S), Some(Trigger::Age));
        assert!(q.push(&tokens, rows(1, 2), S).is_empty());
        assert_eq!(q.due(S), Some(Trigger::Interval));
        let taken = q.take();
        assert_eq!((taken.len(), q.rows(), q.due(99 * S)), (2, 0, None));
        // Nothing beyond what the last row sees.
        assert_eq!(taken[0].tokens, tokens[..6]);
        let over = q.push(&tokens, rows(10, 0), S);
        assert_eq!(over, [8, 9]);
        assert_eq!(q.due(S), Some(Trigger::Rows));
        assert_eq!(q.take()[0].rows.len(), 8);
    }

    #[test]
    fn requests_without_rows_count_and_are_never_due_alone() {
        let mut q = Replay::new(2, 8, 10 * S);
        for _ in 0..3 {
            assert!(q.push(&[1, 2], Vec::new(), S).is_empty());
        }
        assert_eq!(q.due(100 * S), None);
        q.push(&[0; 9], rows(1, 0), S);
        assert_eq!(q.due(S), Some(Trigger::Interval));
    }

    /// Against the simplest form of the same: T8.
    #[test]
    fn a_long_stream_agrees_with_a_list() {
        let tokens: Vec<u32> = (0..100).collect();
        let mut q = Replay::new(5, 30, 40 * S);
        let mut list: Vec<(u32, Duration)> = Vec::new();
        let (mut requests, mut state, mut updates) = (0, 7u32, 0);
        for t in 0..500u32 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (n, now) = ((state >> 28) as usize, S * 3 * t);
            let kept = rows(n, t * 16);
            let over = q.push(&tokens, kept.clone(), now);
            requests += 1;
            let fit = n.min(30 - list.len());
            list.extend(kept[..fit].iter().map(|k| (k.slot, now)));
            let expected: Vec<u32> = kept[fit..].iter().map(|k| k.slot).collect();
            assert_eq!(over, expected);
            let old = list
                .first()
                .is_some_and(|(_, since)| now - *since >= 40 * S);
            let due = !list.is_empty() && (requests >= 5 || list.len() >= 30 || old);
            assert_eq!(q.due(now).is_some(), due, "at {t}");
            assert_eq!(q.rows(), list.len());
            if due {
                let taken: Vec<u32> = (q.take().iter())
                    .flat_map(|e| e.rows.iter().map(|k| k.slot))
                    .collect();
                let all: Vec<u32> = list.drain(..).map(|(slot, _)| slot).collect();
                assert_eq!(taken, all);
                (requests, updates) = (0, updates + 1);
            }
        }
        assert!(updates > 50);
    }
}
