//! One of several drafts: on the device, or parked on the host.

use super::learner::Learner;
use super::{Figures, OnlineSettings};
use crate::engine::language::{Draft, Drafter, Language, Session, Stats};
use crate::error::Result;
use std::sync::Arc;

/// What a draft did and costs.
#[derive(Clone, Debug, Default)]
pub struct ArmFigures {
    pub name: String,
    /// Bytes of its weights, caches and training on the device; 0 where it is parked on the host.
    pub bytes: u64,
    /// Times that it was parked.
    pub parked: usize,
    pub requests: usize,
    pub tokens: usize,
    pub rounds: usize,
    pub proposed: usize,
    pub accepted: usize,
    /// The mean share that it saved of requests without a label: what routing goes by. `None` where it had none yet.
    pub saved: Option<f64>,
    /// What it learned; `None` where it does not.
    pub online: Option<Figures>,
}

/// A draft, or what is looked up in the text.
#[derive(Default)]
pub(super) struct Arm {
    pub name: String,
    /// What it begins as; `None` of what is looked up in the text.
    source: Option<Arc<Language>>,
    /// The draft as it is served, where it was opened.
    draft: Option<Arc<Language>>,
    pub learner: Option<Learner>,
    /// Its part of the session, while another one is at work there and it is on the device.
    pub drafter: Option<Drafter>,
    /// When it was taken last.
    pub last: u64,
    pub parked: usize,
    /// What it took on the device when it was parked last.
    pub parked_bytes: u64,
    pub requests: usize,
    pub done: Stats,
}

impl Arm {
    pub fn new(name: &str, source: Option<Arc<Language>>) -> Self {
        Self {
            name: name.into(),
            source,
            ..Self::default()
        }
    }

    /// What it begins as.
    pub fn called(&self) -> Option<String> {
        self.source.as_ref().map(|source| source.name())
    }

    /// Bytes that it takes at least once it serves, and learns where `learns`: of weights; of a training its own, two
    /// moments, what it can go back to, and gradients.
    ///
    /// # Errors
    /// What writing the draft's graph returns.
    pub fn least_bytes(&self, learns: bool) -> Result<u64> {
        let Some(source) = &self.source else {
            return Ok(0);
        };
        let parameters = source.parameters()?;
        let weights = source.options().weights.bytes(parameters as usize) as u64;
        let training = if learns { 5 * 4 * parameters } else { 0 };
        Ok(weights + training)
    }

    /// Makes it ready to be put to work in `session`: opened where it never was, brought back where it is parked.
    ///
    /// # Errors
    /// As [`super::Online::new`].
    pub fn wake(&mut self, session: &Session, online: Option<OnlineSettings>) -> Result<()> {
        if self.drafter.is_some() {
            return Ok(());
        }
        let draft = match (&self.source, &mut self.learner, online) {
            (None, _, _) => Draft::Ngram,
            (Some(_), Some(learner), _) => {
                learner.wake()?;
                Draft::Model(learner.draft.clone())
            }
            (Some(source), None, Some(settings)) => {
                let learner = Learner::new(session.target(), source, settings)?;
                let draft = learner.draft.clone();
                self.learner = Some(learner);
                Draft::Model(draft)
            }
            (Some(source), None, None) => {
                let draft = match &self.draft {
                    Some(draft) => draft.clone(),
                    // What is the caller's does not leave the device with ours.
                    None => Arc::new(source.fork()?),
                };
                self.draft = Some(draft.clone());
                Draft::Model(draft)
            }
        };
        self.drafter = Some(session.drafter(draft)?);
        Ok(())
    }

    /// Has it leave the device; not while it is at work.
    ///
    /// # Errors
    /// What ending its update and reading return; it stays then.
    pub fn park(&mut self) -> Result<()> {
        if let Some(learner) = &mut self.learner {
            learner.park()?;
        }
        self.drafter = None;
        if let Some(draft) = &self.draft {
            draft.evict();
        }
        self.parked += 1;
        Ok(())
    }

    /// Bytes on the device but for its part of the session.
    pub fn own_bytes(&self) -> u64 {
        let draft = self.draft.as_ref().map_or(0, |d| d.bytes());
        draft + self.learner.as_ref().map_or(0, Learner::device_bytes)
    }

    /// Takes note of a request.
    pub fn note(&mut self, stats: &Stats) {
        self.requests += 1;
        self.done.tokens += stats.tokens;
        self.done.rounds += stats.rounds;
        self.done.proposed += stats.proposed;
        self.done.accepted += stats.accepted;
    }
}
