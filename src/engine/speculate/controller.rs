//! How many tokens the draft should propose, so that decoding is never slower than without one.
//!
//! The length with the most expected tokens in a second, of what the last rounds measured: how often each place of a
//! proposal is accepted, a step of the draft, the target's run for each length. 0 is a legal length. While it is the
//! best, the draft is probed now and then, and only out of an allowance that plain steps fill at [`ALLOWANCE`] of their
//! time: what probes lose is bounded by that share, however useless the draft.

use super::cost;
use crate::error::{Error, Result};

/// The share of the time of plain steps that probes may lose.
pub const ALLOWANCE: f64 = 0.012;

/// Plain steps' time that a request may lose at once, before it has earned it.
const GRANT: f64 = 1.0;

/// The most that gains fill the allowance with, in plain steps: what a draft that turned useless loses at most at once.
const CREDIT: f64 = 8.0;

/// How many times faster plain steps fill the allowance where it is spent and yet the draft promises a gain: bad luck.
const REFILL: f64 = 5.0;

/// What a round of proposals keeps of the counts before it: some 50 rounds are remembered.
const KEEP: f64 = 0.98;

/// The same for a plain step, down to [`FORGOTTEN`] proposals: after a while a probe counts for much.
const KEEP_PLAIN: f64 = 0.95;
const FORGOTTEN: f64 = 3.0;

/// Rounds after which a time no longer holds.
const STALE: u32 = 256;

/// How much a length must be better than plain decoding.
const MARGIN: f64 = 1.02;

/// Below this gain, an error of some hundredths in the time of a plain step hides a loss: it is measured anew after so
/// many rounds.
const SMALL: f64 = 1.1;
const SMALL_AGE: u32 = 8;

/// Plain steps measured before the first proposals.
const FIRST: u32 = 2;

/// How the length is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftLen {
    /// By what is measured.
    Auto,
    /// Always so many.
    Fixed(usize),
    /// No proposals.
    Off,
}

impl std::str::FromStr for DraftLen {
    type Err = Error;

    /// `auto`, `off` or a number.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(DraftLen::Auto),
            "off" => Ok(DraftLen::Off),
            _ => text.parse().map(DraftLen::Fixed).map_err(|_| {
                Error::Usage(format!(
                    "a draft length is `auto`, `off` or a number, not `{text}`"
                ))
            }),
        }
    }
}

/// What a round did and took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Round {
    /// Proposals verified; 0 in a plain step.
    pub proposed: usize,
    pub accepted: usize,
    /// Time of the draft's steps. Where it cannot be told from the target's, 0, and all of it in `verify_ms`.
    pub draft_ms: f64,
    pub verify_ms: f64,
}

/// A moving time, of how many rounds, and how many ago the last was measured.
#[derive(Clone, Copy, Debug)]
struct Time {
    ms: f64,
    of: u32,
    age: u32,
}

/// Hits of decayed trials.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    hits: f64,
    trials: f64,
}

impl Count {
    fn keep(&mut self, share: f64) {
        self.hits *= share;
        self.trials *= share;
    }

    /// The share of hits, `prior` counted as `weight` trials.
    fn share(&self, prior: f64, weight: f64) -> f64 {
        (self.hits + prior * weight) / (self.trials + weight)
    }
}

/// Chooses draft lengths. One for each sequence; times outlive a request.
#[derive(Clone, Debug)]
pub struct Controller {
    mode: DraftLen,
    /// By draft length: the target's run.
    verify: Vec<Option<Time>>,
    draft_step: Option<Time>,
    /// Acceptance over all places, and of each place where those before it were accepted.
    all: Count,
    places: Vec<Count>,
    /// Time that may be lost to probes, in ms.
    allowance: f64,
    /// Rounds by their proposals, tokens accepted.
    rounds: Vec<u64>,
    accepted: u64,
}

impl Controller {
    /// A controller that proposes at most `most` tokens.
    pub fn new(mode: DraftLen, most: usize) -> Self {
        Self {
            mode,
            verify: vec![None; most + 1],
            draft_step: None,
            all: Count::default(),
            places: vec![Count::default(); most],
            allowance: 0.0,
            rounds: vec![0; most + 1],
            accepted: 0,
        }
    }

    /// Begins another request: times are kept, acceptance counts for little, the closing figures begin anew.
    pub fn restart(&mut self, mode: DraftLen) {
        self.mode = mode;
        self.forget(0.0);
        self.allowance = self.plain_ms().unwrap_or(0.0) * GRANT;
        self.rounds.iter_mut().for_each(|r| *r = 0);
        self.accepted = 0;
    }

    /// The most proposals of a round.
    pub fn most(&self) -> usize {
        self.places.len()
    }

    /// The length for the next round.
    pub fn next(&self) -> usize {
        match self.mode {
            DraftLen::Off => 0,
            DraftLen::Fixed(k) => k.min(self.most()),
            DraftLen::Auto => self.best(),
        }
    }

    fn best(&self) -> usize {
        let Some(plain) = self.verify.first().copied().flatten() else {
            return 0;
        };
        if plain.of < FIRST || plain.age >= STALE || self.most() == 0 {
            return 0;
        }
        let (k, gain) = self.gain();
        if gain > MARGIN && gain < SMALL && plain.age >= SMALL_AGE {
            0
        } else if gain > MARGIN && self.allowance >= 0.0 {
            k
        } else if self.allowance > self.round_ms(1) - plain.ms {
            1
        } else {
            0
        }
    }

    /// The length above 0 that promises the most, and how many times faster than plain decoding it is to be.
    fn gain(&self) -> (usize, f64) {
        let plain = self.plain_ms().unwrap_or(0.0);
        (1..=self.most())
            .map(|k| (k, plain * self.expected_tokens(k) / self.round_ms(k)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap_or((0, 0.0))
    }

    /// Tells what the round did.
    pub fn record(&mut self, round: &Round) {
        let k = round.proposed.min(self.most());
        let accepted = round.accepted.min(k);
        let first = self.verify.iter().all(Option::is_none);
        for time in self
            .verify
            .iter_mut()
            .chain([&mut self.draft_step])
            .flatten()
        {
            time.age = time.age.saturating_add(1);
        }
        measure(&mut self.verify[k], round.verify_ms);
        self.rounds[k] += 1;
        self.accepted += accepted as u64;
        let plain = self.plain_ms().unwrap_or(round.verify_ms);
        if first {
            self.allowance = plain * GRANT;
        }
        if k == 0 {
            let spent = self.allowance < 0.0 && self.gain().1 > SMALL;
            let share = if spent { REFILL * ALLOWANCE } else { ALLOWANCE };
            if self.allowance < GRANT * plain {
                self.allowance = (self.allowance + share * plain).min(GRANT * plain);
            }
            self.forget(KEEP_PLAIN);
            return;
        }
        measure(&mut self.draft_step, round.draft_ms / k as f64);
        let saved = (accepted + 1) as f64 * plain - round.draft_ms - round.verify_ms;
        self.allowance = (self.allowance + saved).clamp(-GRANT * plain, CREDIT * plain);
        self.all.keep(KEEP);
        for (i, place) in self.places.iter_mut().enumerate() {
            place.keep(KEEP);
            if i < k && i <= accepted {
                let hit = if i < accepted { 1.0 } else { 0.0 };
                for count in [&mut *place, &mut self.all] {
                    count.hits += hit;
                    count.trials += 1.0;
                }
            }
        }
    }

    /// Keeps `share` of the counts, and no less than [`FORGOTTEN`] trials of them.
    fn forget(&mut self, share: f64) {
        if self.all.trials > FORGOTTEN {
            let share = share.max(FORGOTTEN / self.all.trials);
            self.all.keep(share);
            self.places.iter_mut().for_each(|p| p.keep(share));
        }
    }

    /// Tokens that a round with `k` proposals is expected to give.
    pub fn expected_tokens(&self, k: usize) -> f64 {
        let alpha = self.all.share(0.5, 1.0);
        let (mut sum, mut alive) = (1.0, 1.0);
        for place in self.places.iter().take(k) {
            alive *= place.share(alpha, 8.0);
            sum += alive;
        }
        sum
    }

    /// Time that a round with `k` proposals is expected to take.
    fn round_ms(&self, k: usize) -> f64 {
        let plain = self.plain_ms().unwrap_or(0.0);
        let step = self.draft_step.map_or(0.1 * plain, |t| t.ms);
        step * k as f64 + self.verify_ms(k)
    }

    /// Time of the target's run with `k` proposals: as measured, else by the lengths around it.
    fn verify_ms(&self, k: usize) -> f64 {
        let known = |i: &usize| match self.verify[*i] {
            Some(t) if *i == 0 || t.age < STALE => Some((*i as f64, t.ms)),
            _ => None,
        };
        let below = (0..=k).rev().find_map(|i| known(&i));
        let above = (k..=self.most()).find_map(|i| known(&i));
        let at = k as f64;
        match (below, above) {
            (Some((i, ms)), _) if i == at => ms,
            (Some((i, a)), Some((j, b))) => a + (b - a) * (at - i) / (j - i),
            (Some((i, ms)), None) if i > 0.0 => {
                let slope = (ms - self.plain_ms().unwrap_or(ms)).max(0.0) / i;
                ms + slope * (at - i)
            }
            // Nothing but the plain step: a run of a few rows costs little more, or it will be measured.
            (Some((_, ms)), None) => ms * (1.0 + 0.02 * at),
            (None, Some((_, ms))) => ms,
            (None, None) => 0.0,
        }
    }

    /// Time of a plain step, once one was measured.
    pub fn plain_ms(&self) -> Option<f64> {
        self.verify.first().copied().flatten().map(|t| t.ms)
    }

    /// c: a step of the draft in plain steps, once both were measured.
    pub fn draft_cost(&self) -> Option<f64> {
        Some(self.draft_step?.ms / self.plain_ms()?)
    }

    /// v(k): verifying `k` proposals in plain steps, where both were measured.
    pub fn verify_cost(&self, k: usize) -> Option<f64> {
        Some(self.verify.get(k).copied().flatten()?.ms / self.plain_ms()?)
    }

    /// What the cost model says of the request so far: the rounds' mean tokens over what its lengths cost by c and v(k).
    pub fn predicted_speedup(&self) -> Option<f64> {
        let (mut tokens, mut time) = (self.accepted as f64, 0.0);
        for (k, &rounds) in self.rounds.iter().enumerate().filter(|(_, r)| **r > 0) {
            let c = if k == 0 { 0.0 } else { self.draft_cost()? };
            tokens += rounds as f64;
            time += rounds as f64 * (c * k as f64 + self.verify_cost(k)?);
        }
        (time > 0.0).then(|| tokens / time)
    }

    /// The share of this request's proposals that were accepted; `None` where there were none.
    pub fn acceptance(&self) -> Option<f64> {
        let proposed: u64 = (self.rounds.iter().enumerate())
            .map(|(k, r)| k as u64 * r)
            .sum();
        (proposed > 0).then(|| self.accepted as f64 / proposed as f64)
    }

    /// Accepted tokens of a round with proposals, on average over this request.
    pub fn mean_accepted(&self) -> Option<f64> {
        let rounds: u64 = self.rounds.iter().skip(1).sum();
        (rounds > 0).then(|| self.accepted as f64 / rounds as f64)
    }

    /// This request's rounds by their number of proposals.
    pub fn lengths(&self) -> &[u64] {
        &self.rounds
    }

    /// The length that Eq. 1 with the measured c and v(k) would choose for acceptance `alpha` at every place.
    pub fn best_for(&self, alpha: f64) -> usize {
        let plain = self.plain_ms().unwrap_or(1.0).max(f64::MIN_POSITIVE);
        let c = self.draft_cost().unwrap_or(0.1);
        cost::best(alpha, c, |k| self.verify_ms(k) / plain, self.most()).0
    }
}

/// Moves a time towards `ms`; what is not a time is left out.
fn measure(time: &mut Option<Time>, ms: f64) {
    if !(ms.is_finite() && ms >= 0.0) {
        return;
    }
    *time = Some(match *time {
        // Each of a few counts the same, then the last ten or so. The first run of a length may compile or warm up
        // something: what takes less than half counts in full.
        Some(t) if t.age < STALE && t.ms < 2.0 * ms => {
            let of = t.of.saturating_add(1);
            Time {
                ms: t.ms + (ms - t.ms) * (1.0 / f64::from(of)).max(0.1),
                of,
                age: 0,
            }
        }
        _ => Time { ms, of: 1, age: 0 },
    });
}
