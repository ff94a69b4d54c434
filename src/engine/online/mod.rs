//! A draft that learns while it serves: Algorithm 1 of "Online Speculative Decoding" (arXiv 2310.07177). Verification
//! leaves the target's distributions where proposals were rejected; a buffer gathers them; updates run in slices between
//! rounds; what stands the canary is served from the next round on. The output's law is the target's throughout: a
//! round's proposals are accepted by the distributions that they were drawn from, and a round is one submission, before
//! or after which weights change.

mod arm;
mod capacity;
mod drafts;
mod folder;
mod gather;
mod learner;
mod lesson;
mod measured;
mod memory;
mod parked;
mod rehearsal;
mod replay;
mod row;
mod serve;
mod settings;
mod update;
mod usual;
mod writer;

pub use arm::ArmFigures;
pub use drafts::{BASE, Drafts, DraftsSettings, NGRAM, Routed, name};
pub use replay::{Example, Replay, Trigger};
pub use row::Dropped;
pub use serve::Each;
pub use settings::{OnlineSettings, Positions, Source};
pub use update::Verdict;

use crate::engine::language::{Draft, Language, Request, Room, Session, Stats, Watch};
use crate::error::Result;
use capacity::Capacity;
use learner::Learner;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What was learned, and what it cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Updates that stand, and that were rolled back, as held-out rows got worse or a loss was no number.
    pub updates: usize,
    pub rolled_back: usize,
    /// Times that requests turned out to be of another kind than those before.
    pub shifts: usize,
    /// Steps that changed nothing: their gradients were no numbers, or exploded.
    pub rejected: usize,
    /// Distributions that updates took; that were none and were left out; and those that there was no room for.
    pub rows: usize,
    pub bad_rows: usize,
    pub lost_rows: usize,
    /// In the buffer now; and the bytes on the device that there are for distributions, buffered or being learned from.
    pub buffered: usize,
    pub buffer_bytes: u64,
    /// Bytes of distributions in the buffer that are on the host, compressed, and what compressing dropped by now.
    pub host_bytes: u64,
    pub dropped: Dropped,
    /// Texts of the draft's own that it learned from, and tokens of them.
    pub own_texts: usize,
    pub own_tokens: usize,
    /// Of all updates, and of those of them within [`Online::serve`].
    pub update_seconds: f64,
    pub serve_update_seconds: f64,
    pub slices: usize,
    /// Of the device, of the longest slice.
    pub longest_slice_ms: f64,
    /// Of the updates' seconds, what went into making plans, each once.
    pub plan_seconds: f64,
    /// Mean Σ min(p, q) of held-out rows before and after the last update.
    pub canary: Option<[f64; 2]>,
    /// Of the draft served: the number of updates in its line.
    pub version: u64,
    /// Why the draft could not be saved the last time.
    pub save_error: Option<String>,
}

/// What a request brought.
#[derive(Clone, Debug)]
pub struct Served {
    pub tokens: Vec<u32>,
    pub stats: Stats,
    /// Mean Σ min(p, q) over the proposals looked at.
    pub overlap: Option<f64>,
    /// Of the request's time, what updates took.
    pub update_seconds: f64,
}

/// A target whose draft learns from what verification yields.
pub struct Online {
    session: Session,
    learner: Learner,
    /// Seconds of serving, updates included.
    served: f64,
}

impl Online {
    /// `target` with a copy of `draft` that learns; with the draft in the folder to save to where it has one. `draft`
    /// itself stays as it is.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] where settings cannot be, or the two do not go together or one cannot be trained;
    /// [`crate::Error::File`] where the folder holds something else.
    pub fn new(
        target: &Arc<Language>,
        draft: &Arc<Language>,
        settings: OnlineSettings,
        room: Room,
    ) -> Result<Self> {
        let all = settings.positions == Positions::All;
        let ring = Capacity::of(&settings, target).ring(&settings, room.positions);
        let learner = Learner::new(target, draft, settings)?;
        let mut session = Session::new(target, Draft::Model(learner.draft.clone()), room)?;
        session.watch(Watch { rows: ring, all })?;
        Ok(Self {
            session,
            learner,
            served: 0.0,
        })
    }

    /// The draft, as it is served now.
    pub fn draft(&self) -> &Arc<Language> {
        &self.learner.draft
    }

    /// The session that it is served in.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// As [`Session::plain_seconds`].
    ///
    /// # Errors
    /// As there.
    pub fn plain_seconds(&mut self) -> Result<f64> {
        self.session.plain_seconds()
    }

    /// What was done so far.
    pub fn figures(&self) -> Figures {
        self.learner.figures()
    }

    /// Whether there is something left for [`Online::idle`].
    pub fn pending(&self) -> bool {
        self.learner.pending()
    }

    /// Generates as [`Session::generate`], and gives `tokens` what is accepted as it comes. What verification yields is
    /// gathered, and updates go on in between within their share of time.
    ///
    /// # Errors
    /// As [`Session::generate`] and [`crate::engine::language::Generation::next`]; what was kept before is gathered.
    /// What training returns.
    pub fn serve(
        &mut self,
        prompt: &[u32],
        request: &Request,
        tokens: &mut dyn FnMut(&[u32]),
    ) -> Result<Served> {
        self.serve_shown(prompt, request, &mut |new, _| tokens(new))
    }

    /// As [`Online::serve`]; `each` is told what was done so far, too.
    ///
    /// # Errors
    /// As [`Online::serve`].
    pub fn serve_shown(
        &mut self,
        prompt: &[u32],
        request: &Request,
        each: &mut Each<'_>,
    ) -> Result<Served> {
        let (session, learner) = (&mut self.session, Some(&mut self.learner));
        serve::serve(session, learner, &mut self.served, prompt, request, each)
    }

    /// Uses idle time: ends the update that is due, if one is.
    ///
    /// # Errors
    /// What training returns.
    pub fn idle(&mut self) -> Result<()> {
        self.learner.finish(&mut self.session)
    }

    /// As [`Online::idle`] for at most `budget`, and one slice more. Whether all is done.
    ///
    /// # Errors
    /// As [`Online::idle`].
    pub fn idle_for(&mut self, budget: Duration) -> Result<bool> {
        let begun = Instant::now();
        self.learner.save();
        self.learner.start(&mut self.session)?;
        while self.learner.updating() && begun.elapsed() < budget {
            self.learner.slice(self.learner.slice_ms())?;
        }
        self.learner.save();
        Ok(!self.learner.updating())
    }
}
