//! How proposals usually go, and when they no longer do: requests are of another kind then.

use crate::engine::language::Stats;

/// By so much the share of proposals that is accepted falls below what is usual where requests are of another kind.
const SHIFT: f64 = 0.15;
/// Of fewer proposals than so many, chance tells.
const ENOUGH: usize = 128;
/// What the last share counts in what is usual.
const RECENT: f64 = 0.3;

/// The share of proposals that is accepted, of those that are looked at: up to the first of a round that is rejected.
#[derive(Clone, Debug, Default)]
pub struct Usual {
    /// Since it was last told.
    accepted: usize,
    looked_at: usize,
    share: Option<f64>,
}

impl Usual {
    /// Takes note of a request.
    pub fn note(&mut self, stats: &Stats) {
        self.accepted += stats.accepted;
        // One is rejected in almost every round.
        self.looked_at += stats.accepted + stats.drafted();
    }

    /// Whether the last requests' proposals went much worse than usual; says so once.
    pub fn shifted(&mut self) -> bool {
        if self.looked_at < ENOUGH {
            return false;
        }
        let now = self.accepted as f64 / self.looked_at as f64;
        (self.accepted, self.looked_at) = (0, 0);
        let usual = self.share.unwrap_or(now);
        let shifted = now < usual - SHIFT;
        self.share = match shifted {
            true => Some(now),
            false => Some(usual + RECENT * (now - usual)),
        };
        shifted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `rounds` with proposals and as many without, with so many accepted.
    fn stats(rounds: usize, accepted: usize) -> Stats {
        Stats {
            rounds: 2 * rounds,
            draft_lens: vec![rounds, rounds],
            accepted,
            ..Stats::default()
        }
    }

    #[test]
    fn it_tells_a_shift_once_and_from_enough_proposals() {
        let mut usual = Usual::default();
        for _ in 0..3 {
            usual.note(&stats(100, 100));
            assert!(!usual.shifted());
        }
        // Too few to tell; then as many again.
        usual.note(&stats(90, 10));
        assert!(!usual.shifted());
        usual.note(&stats(90, 10));
        assert!(usual.shifted());
        usual.note(&stats(180, 20));
        assert!(!usual.shifted());
    }

    #[test]
    fn a_slow_decline_is_none() {
        let mut usual = Usual::default();
        for accepted in (20..=200).rev().step_by(10) {
            usual.note(&stats(200, accepted));
            assert!(!usual.shifted(), "{accepted}");
        }
    }

    #[test]
    fn requests_without_proposals_say_nothing() {
        let mut usual = Usual::default();
        usual.note(&stats(200, 200));
        assert!(!usual.shifted());
        for _ in 0..5 {
            usual.note(&Stats {
                rounds: 500,
                draft_lens: vec![500],
                ..Stats::default()
            });
            assert!(!usual.shifted());
        }
    }
}
