//! How many tokens the draft should propose, so that decoding is never slower than without one.
//!
//! The length with the most expected tokens for its cost. Costs are those of [`Costs`]; acceptance is what the last
//! rounds showed, beginning with a guess that a few of them outweigh. 0 is a legal length. Where it is not certain that
//! a length gains, the draft proposes only out of an allowance that plain steps fill at [`ALLOWANCE`] of their time and
//! that counts rounds under way as lost: that share bounds what a useless draft loses.

use super::costs::Costs;
use crate::error::{Error, Result};

/// Lengths that are chosen from: each is a plan to be made, and those between gain a hundredth at most.
pub const LENGTHS: [usize; 8] = [1, 2, 3, 4, 6, 8, 11, 15];

/// The share of the time of plain steps that proposals may lose.
pub const ALLOWANCE: f64 = 0.009;

/// Plain steps that a request may lose at once, before it has earned them.
const GRANT: f64 = 1.2;

/// The most that gains fill the allowance with, in plain steps: what a draft that turned useless loses at most at once.
const CREDIT: f64 = 4.0;

/// Acceptance before anything was proposed, and how many proposals that counts for.
const GUESS: f64 = 0.75;
const GUESS_OF: f64 = 1.0;

/// Trials that are remembered of all places, and of each; and so few that where these say otherwise, by so many standard
/// errors, the text is another.
const MEMORY: f64 = 60.0;
const RECENT: f64 = 12.0;
const OTHERWISE: f64 = 2.5;

/// What a plain step keeps of them, down to [`FORGOTTEN`] trials: after a while a probe counts for much.
const KEEP_PLAIN: f64 = 0.95;
const FORGOTTEN: f64 = 3.0;

/// Trials that another request begins with.
const KNOWN: f64 = 6.0;

/// How many times all places count in the acceptance of one.
const POOLED: f64 = 8.0;

/// How much a length must be better than plain decoding.
const MARGIN: f64 = 1.01;

/// The part of the allowance that one round may lose, but for a single proposal; and trials before which nothing is certain.
const AT_ONCE: f64 = 0.6;
const FEW: f64 = 2.0;

/// Standard errors by which acceptance may be less, and the gain still certain.
const CERTAIN: f64 = 1.0;

/// Plain steps that are measured in a row, the share of time that this may lose, and rounds after which it is done anew.
const IN_A_ROW: u32 = 2;
const MEASURING: f64 = 0.045;
const STALE: u32 = 64;

/// Rounds whose costs differ by less are timed one after the other.
const ALIKE: f64 = 0.3;

/// How the length is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftLen {
    /// By acceptance and the clock.
    Auto,
    /// By this text's acceptance and planned costs: the same each time.
    Planned,
    /// Always so many.
    Fixed(usize),
    /// No proposals.
    Off,
}

impl std::str::FromStr for DraftLen {
    type Err = Error;

    /// `auto`, `planned`, `off` or a number.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(DraftLen::Auto),
            "planned" => Ok(DraftLen::Planned),
            "off" => Ok(DraftLen::Off),
            _ => text.parse().map(DraftLen::Fixed).map_err(|_| {
                Error::Usage(format!(
                    "a draft length is `auto`, `planned`, `off` or a number, not `{text}`"
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
    /// Tokens that the draft had to catch up with before.
    pub behind: usize,
    /// Its time, where that says what such rounds take.
    pub ms: Option<f64>,
}

/// Hits of trials, those long ago worth less.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    hits: f64,
    trials: f64,
}

impl Count {
    fn add(&mut self, hit: bool, memory: f64) {
        self.keep_at_most(memory - 1.0);
        self.hits += if hit { 1.0 } else { 0.0 };
        self.trials += 1.0;
    }

    fn keep_at_most(&mut self, trials: f64) {
        if self.trials > trials {
            self.hits *= trials / self.trials;
            self.trials = trials;
        }
    }

    /// The share of hits, `prior` counted as `weight` trials.
    fn share(&self, prior: f64, weight: f64) -> f64 {
        (self.hits + prior * weight) / (self.trials + weight)
    }
}

/// Chooses draft lengths. One for each sequence; costs outlive a request, and acceptance a little.
#[derive(Clone, Debug)]
pub struct Controller {
    mode: DraftLen,
    costs: Costs,
    /// Acceptance over all places, and of each place where those before it were accepted.
    all: Count,
    places: Vec<Count>,
    /// The last trials.
    recent: Count,
    /// What may be lost, in plain steps.
    allowance: f64,
    /// Plain steps left of those that are to be measured in a row.
    plain: u32,
    /// Time of this session in plain steps, and the length of the last round.
    spent: f64,
    last: usize,
    /// This request's rounds by their proposals.
    rounds: Vec<u64>,
}

impl Controller {
    /// A controller that proposes at most `most` tokens.
    pub fn new(mode: DraftLen, most: usize) -> Self {
        Self {
            mode,
            costs: Costs::new(most),
            all: Count::default(),
            places: vec![Count::default(); most],
            recent: Count::default(),
            allowance: GRANT,
            plain: 0,
            spent: 0.0,
            last: 0,
            rounds: vec![0; most + 1],
        }
    }

    /// Takes `costs` for the planned ones, as [`Costs::plan`] does.
    pub fn plan(&mut self, costs: &[f64], fills: &[(usize, f64)]) {
        self.costs.plan(costs, fills);
    }

    /// Begins another request.
    pub fn restart(&mut self, mode: DraftLen) {
        self.mode = mode;
        self.forget(match mode {
            DraftLen::Planned => 0.0,
            _ => KNOWN,
        });
        self.recent = Count::default();
        self.allowance = GRANT;
        self.plain = 0;
        self.rounds.iter_mut().for_each(|r| *r = 0);
    }

    /// The most proposals of a round.
    pub fn most(&self) -> usize {
        self.places.len()
    }

    /// The length for the next round, at most `most`, while rounds of `pending` proposals are under way, and the draft
    /// would have to catch up with `behind` tokens.
    pub fn next(
        &mut self,
        pending: impl IntoIterator<Item = usize>,
        behind: usize,
        most: usize,
    ) -> usize {
        let most = most.min(self.most());
        match self.mode {
            DraftLen::Off => 0,
            DraftLen::Fixed(k) => k.min(most),
            DraftLen::Auto | DraftLen::Planned => self.best(pending, behind, most),
        }
    }

    /// What `k` proposals cost in plain steps, by the clock or as planned.
    pub fn cost_by(&self, k: usize, clock: bool) -> f64 {
        self.costs.of(k, clock)
    }

    fn cost(&self, k: usize) -> f64 {
        self.cost_by(k, self.mode != DraftLen::Planned)
    }

    /// What `k` proposals may lose.
    fn risk(&self, k: usize) -> f64 {
        self.cost(k) - 1.0
    }

    fn best(
        &mut self,
        pending: impl IntoIterator<Item = usize>,
        behind: usize,
        most: usize,
    ) -> usize {
        let (mut lost, mut plain) = (0.0, false);
        for k in pending {
            lost += self.risk(k);
            plain |= k == 0;
        }
        let alpha = self.alpha();
        let (k, gain) = self.gain(alpha, most);
        if !plain && self.plain == 0 && self.plain_is_due(gain) {
            self.plain = IN_A_ROW;
        }
        if self.plain > 0 {
            self.plain -= 1;
            return 0;
        }
        let error = (alpha * (1.0 - alpha) / (self.all.trials + GUESS_OF)).sqrt();
        if self.all.trials >= FEW && self.gain(alpha - CERTAIN * error, most).1 > MARGIN {
            return k;
        }
        let left = self.allowance - lost - self.costs.behind(behind);
        // What promises a gain, as far as it may be lost; else the cheapest probe.
        let longest = if gain > MARGIN { k } else { 1 };
        (LENGTHS.into_iter().rev())
            .filter(|&k| k <= longest.min(most))
            .find(|&k| {
                self.risk(k) <= if k == 1 { left } else { AT_ONCE * left }
                    || (k == 1 && left >= GRANT)
            })
            .unwrap_or(0)
    }

    /// Whether plain steps are to be measured though a length promises `gain`: what they lose is to be little of the time.
    fn plain_is_due(&self, gain: f64) -> bool {
        if self.mode == DraftLen::Planned {
            return false;
        }
        let lose = f64::from(IN_A_ROW) * (1.0 - 1.0 / gain.max(1.0));
        match self.costs.measured(0) {
            (of @ 0..3, _) => ((of + 1) * (of + 1)) as f64 * lose <= MEASURING * self.spent,
            (_, age) => age >= STALE && lose <= 0.2 * MEASURING * f64::from(age),
        }
    }

    /// The length above 0 and up to `most` that promises the most, and how many times faster than plain decoding it is to
    /// be.
    fn gain(&self, alpha: f64, most: usize) -> (usize, f64) {
        let (mut tokens, mut alive, mut best) = (1.0, 1.0, (0, 0.0));
        for (i, place) in self.places.iter().enumerate().take(most) {
            alive *= place.share(alpha, POOLED);
            tokens += alive;
            let gain = tokens / self.cost(i + 1);
            if gain > best.1 && LENGTHS.contains(&(i + 1)) {
                best = (i + 1, gain);
            }
        }
        best
    }

    /// Tells what the round did.
    pub fn record(&mut self, round: &Round) {
        let k = round.proposed.min(self.most());
        let accepted = round.accepted.min(k);
        // What is not like the last round may have a share of that one's time.
        let alike = (self.cost(self.last) / self.cost(k) - 1.0).abs() < ALIKE;
        self.costs.measure(k, round.ms.filter(|_| alike));
        self.last = k;
        self.spent += self.cost(k);
        self.rounds[k] += 1;
        if k == 0 {
            self.allowance = (self.allowance + ALLOWANCE).min(GRANT.max(self.allowance));
            self.forget((self.all.trials * KEEP_PLAIN).max(FORGOTTEN));
            return;
        }
        let saved = accepted as f64 - self.risk(k) - self.costs.behind(round.behind);
        self.allowance = (self.allowance + saved).clamp(-GRANT, CREDIT);
        for (i, place) in self.places.iter_mut().enumerate().take(k.min(accepted + 1)) {
            place.add(i < accepted, MEMORY);
            self.all.add(i < accepted, MEMORY);
            self.recent.add(i < accepted, RECENT);
        }
        let (alpha, of) = (self.alpha(), self.recent.trials);
        let error = (alpha * (1.0 - alpha) / RECENT).sqrt();
        if of > 0.5 * RECENT && (self.recent.hits / of - alpha).abs() > OTHERWISE * error {
            self.forget(0.0);
            self.all = self.recent;
        }
    }

    /// Keeps at most so many trials.
    fn forget(&mut self, trials: f64) {
        self.all.keep_at_most(trials);
        (self.places.iter_mut()).for_each(|p| p.keep_at_most(trials));
    }

    /// Acceptance over all places.
    fn alpha(&self) -> f64 {
        self.all.share(GUESS, GUESS_OF)
    }

    /// Time of a plain step, once one was measured.
    pub fn plain_ms(&self) -> Option<f64> {
        self.costs.plain_ms()
    }

    /// This request's rounds by their number of proposals.
    pub fn lengths(&self) -> &[u64] {
        &self.rounds
    }
}
