//! Rounds of proposing and verifying, one after the other, and what they cost.

use super::plans::{self, Fault};
use super::request::Request;
use super::session::{Drafting, Session};
use crate::device::{Executable, Stream};
use crate::engine::speculate;
use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rounds under way at most.
pub(super) const DEPTH: usize = 2;

/// Tokens that come as they are accepted.
pub struct Generation<'s> {
    session: &'s mut Session,
    stream: Stream,
    request: Request,
    pending: VecDeque<Round>,
    /// What the oldest of those brought, and when, where it was waited for before it was asked for.
    arrived: VecDeque<(Vec<u32>, Instant)>,
    /// Results of rounds that had to be waited for before they were asked for.
    ready: VecDeque<Vec<u32>>,
    /// Whether the draft's next round can follow what is submitted.
    draft_ready: bool,
    produced: usize,
    ended: bool,
    last: Instant,
    stats: Stats,
}

struct Round {
    proposals: usize,
    /// Whether those have distributions.
    drafted: bool,
    /// Tokens that the draft had to catch up with.
    behind: usize,
    submitted: Instant,
    /// Whether its time is that of such rounds: the device did not wait for it, and did nothing else meanwhile.
    timed: bool,
    /// For the target's distributions.
    slots: Vec<u32>,
}

/// What a generation did and cost.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// New tokens.
    pub tokens: usize,
    pub rounds: usize,
    /// Tokens proposed, and those of them accepted.
    pub proposed: usize,
    pub accepted: usize,
    /// Rounds in which the draft's logits were not all finite.
    pub draft_faults: usize,
    /// Rounds by the number of proposals.
    pub draft_lens: Vec<usize>,
    /// From the first round's submission to the last result.
    pub seconds: f64,
    /// Of a round without proposals.
    pub plain_seconds: Option<f64>,
    /// Proposals that had a distribution and were looked at, up to the first that was rejected, while the session was
    /// watched; and the sum of Σ min(p, q) over them.
    pub tested: usize,
    pub overlaps: f64,
}

impl Stats {
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.seconds.max(1e-9)
    }

    /// The part of the proposals that was accepted.
    pub fn acceptance(&self) -> Option<f64> {
        (self.proposed > 0).then(|| self.accepted as f64 / self.proposed as f64)
    }

    /// Mean Σ min(p, q) of the proposals looked at, the probability that one is accepted; none where the session is not
    /// watched ([`Session::watch`]) or proposals have no distributions.
    pub fn overlap(&self) -> Option<f64> {
        (self.tested > 0).then(|| self.overlaps / self.tested as f64)
    }

    /// Rounds that had proposals.
    pub fn drafted(&self) -> usize {
        self.rounds - self.draft_lens.first().copied().unwrap_or(0)
    }

    /// Accepted proposals of a round that had some.
    pub fn mean_accepted(&self) -> Option<f64> {
        let drafted = self.drafted();
        (drafted > 0).then(|| self.accepted as f64 / drafted as f64)
    }

    /// How much faster than one token a round.
    pub fn speedup(&self) -> Option<f64> {
        self.plain_seconds
            .map(|plain| self.tokens_per_second() * plain)
    }
}

impl<'s> Generation<'s> {
    pub(super) fn new(session: &'s mut Session, stream: Stream, request: &Request) -> Self {
        session.controller.restart(request.draft_len);
        Self {
            session,
            stream,
            request: request.clone(),
            pending: VecDeque::new(),
            arrived: VecDeque::new(),
            ready: VecDeque::new(),
            draft_ready: false,
            produced: 0,
            ended: false,
            last: Instant::now(),
            stats: Stats {
                draft_lens: vec![0; plans::KMAX + 1],
                ..Stats::default()
            },
        }
    }

    /// The next accepted tokens, at least one; `None` at the end: a stop token, or as many as were asked for.
    ///
    /// # Errors
    /// [`Error::Weights`] where logits are not finite; [`Error::DeviceLost`] where the device went.
    #[allow(clippy::should_implement_trait)] // It returns what failed, and is no iterator.
    pub fn next(&mut self) -> Result<Option<Vec<u32>>> {
        loop {
            if let Some(tokens) = self.ready.pop_front() {
                return Ok(Some(tokens));
            }
            if self.ended {
                return Ok(None);
            }
            while self.pending.len() < DEPTH && self.wanted() > 0 {
                self.submit()?;
            }
            self.receive()?;
        }
    }

    /// What was done so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Has `spent` on other work of the device not counted as decoding's.
    pub fn set_aside(&mut self, spent: Duration) {
        self.last = (self.last + spent).min(Instant::now());
    }

    /// Tokens that are wanted beyond those that the pending rounds bring at least.
    fn wanted(&self) -> usize {
        (self.request.max_new - self.produced).saturating_sub(self.pending.len())
    }

    /// Submits one round.
    fn submit(&mut self) -> Result<()> {
        let host = matches!(self.session.drafting, Drafting::Ngram(_));
        let follows = !host && self.draft_ready;
        let behind = match host || follows {
            true => 0,
            false => self.session.behind(self.pending.len()),
        };
        let under_way = self.pending.iter().map(|r| r.proposals);
        let most = self.wanted() - 1;
        let mut proposals = self.session.controller.next(under_way, behind, most);
        let watch = self.session.watching.as_ref().map(|w| w.watch);
        // A sequence of one token has none before it to run once more.
        let single = !follows && self.session.known.len() + self.pending.len() == 1;
        let made = self
            .session
            .has_plans(&(proposals, host && proposals > 0, watch), single);
        let mut timed = host || !self.pending.is_empty();
        // A plain step brings one token, other rounds as many as are accepted: where a draft that does not follow them
        // begins must be known.
        let waits = |r: &Round| proposals > 0 && !follows && (host || r.proposals > 0);
        while self.pending.iter().any(waits) {
            self.receive()?;
        }
        if self.ended || self.wanted() == 0 {
            return Ok(());
        }
        proposals = proposals.min(self.wanted() - 1);
        if proposals > 0 && !follows {
            self.session.catch_up(self.pending.len())?;
            timed &= host;
        }
        if !made {
            // Nothing is to run meanwhile, as its time would not count. What it brought is not looked at before its turn:
            // lengths are not to depend on which plans there are.
            while let Some(words) = self.stream.receive()? {
                self.arrived.push_back((words, Instant::now()));
            }
        }
        let loading = Instant::now();
        let mut runs: Vec<Arc<Executable>> = Vec::new();
        match &mut self.session.drafting {
            _ if proposals == 0 => {}
            Drafting::None => proposals = 0,
            Drafting::Ngram(ngram) => {
                let proposed = ngram.propose(proposals);
                proposals = proposed.len();
                let n = self.session.known.len();
                self.session.target.store.write("history", n, &proposed)?;
            }
            Drafting::Model(draft) => runs.extend(plans::propose(draft, proposals, single)?),
        }
        self.draft_ready = proposals > 0 && !host;
        let verify = (proposals, host && proposals > 0, watch);
        let made = made && self.session.target.has(&verify);
        let target = &mut self.session.target;
        runs.push(plans::verify(target, verify.0, verify.1, verify.2)?);
        if self.stats.rounds == 0 && self.pending.is_empty() {
            // The device may still read the prompt.
            timed = false;
            self.last = Instant::now();
        } else if !made {
            // Making plans is no part of decoding.
            timed = false;
            let took = loading.elapsed();
            self.last += took;
            self.arrived.iter_mut().for_each(|a| a.1 += took);
        }
        let mut slots = Vec::new();
        if let Some(watching) = &mut self.session.watching {
            slots = watching.take(proposals);
            let mut rows = [u32::MAX; plans::KMAX + 1];
            rows[..slots.len()].copy_from_slice(&slots);
            (self.session.target.store).write(plans::KEPT_SLOTS, 0, &rows)?;
        }
        self.pending.push_back(Round {
            proposals,
            drafted: proposals > 0 && !host,
            behind: if proposals > 0 { behind } else { 0 },
            timed,
            submitted: Instant::now(),
            slots,
        });
        let runs: Vec<&Executable> = runs.iter().map(Arc::as_ref).collect();
        self.stream.submit(&runs)
    }

    /// Waits for the oldest round.
    fn receive(&mut self) -> Result<()> {
        let arrived = match self.arrived.pop_front() {
            None => (self.stream.receive()?).map(|words| (words, Instant::now())),
            arrived => arrived,
        };
        let (Some((words, now)), Some(round)) = (arrived, self.pending.pop_front()) else {
            return Ok(());
        };
        let seconds = (now - self.last.max(round.submitted)).as_secs_f64();
        self.stats.seconds += (now - self.last).as_secs_f64();
        self.last = now;
        if self.ended {
            self.release(round);
            return Ok(());
        }
        let outcome = plans::Outcome::of(&words);
        if outcome.fault == Fault::Draft {
            // What it proposed was verified all the same.
            self.stats.draft_faults += 1;
        }
        if outcome.fault == Fault::Target {
            self.ended = true;
            self.release(round);
            let at = self.session.known.len();
            let found = match self.request.check {
                true => self.session.blame()?,
                false => "; --check names the layer that they come from".into(),
            };
            return Err(Error::Weights(format!(
                "the logits of position {at} are not all finite numbers{found}"
            )));
        }
        self.session.controller.record(&speculate::Round {
            proposed: round.proposals,
            accepted: outcome.accepted,
            behind: round.behind,
            ms: round.timed.then_some(seconds * 1e3),
        });
        self.stats.plain_seconds = self.session.controller.plain_ms().map(|ms| ms / 1e3);
        self.stats.rounds += 1;
        self.stats.proposed += round.proposals;
        self.stats.accepted += outcome.accepted;
        self.stats.draft_lens[round.proposals] += 1;
        let mut tokens = outcome.tokens;
        if let Some(at) = tokens.iter().position(|t| self.request.stop.contains(t)) {
            tokens.truncate(at + 1);
            self.ended = true;
        }
        tokens.truncate(self.request.max_new - self.produced);
        self.produced += tokens.len();
        self.stats.tokens += tokens.len();
        self.ended |= self.produced == self.request.max_new;
        if let Some(watching) = &mut self.session.watching {
            let known = self.session.known.len();
            watching.keep(round.slots, known, outcome.accepted, tokens.len());
            if round.drafted {
                let tested = round.proposals.min(outcome.accepted + 1);
                let sum: f32 = outcome.overlaps[..tested]
                    .iter()
                    .filter(|s| s.is_finite())
                    .sum();
                self.stats.tested += tested;
                self.stats.overlaps += f64::from(sum);
            }
        }
        self.session
            .accept(round.proposals, outcome.accepted, &tokens);
        self.ready.push_back(tokens);
        Ok(())
    }

    fn release(&mut self, round: Round) {
        self.session.release(round.slots);
    }
}

impl Drop for Generation<'_> {
    fn drop(&mut self) {
        // What rounds that nobody waits for leave there is overwritten before it is read.
        for round in std::mem::take(&mut self.pending) {
            self.release(round);
        }
    }
}
