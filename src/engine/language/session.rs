//! A target, its draft, and the sequence that both work on.

use super::generation::{DEPTH, Generation};
use super::model::{Language, Room};
use super::plans::{self, DraftRun, KMAX, Verify};
use super::request::Request;
use super::runner::Runner;
use super::watch::Watching;
use crate::device::Stream;
use crate::engine::speculate::{Controller, DraftLen, Ngram};
use crate::error::{Error, Result};
use crate::models::language::Config;
use std::sync::Arc;

/// Where proposals come from.
#[derive(Clone, Default)]
pub enum Draft {
    #[default]
    None,
    /// What followed the last time that the same tokens stood there.
    Ngram,
    /// A smaller model of the same vocabulary.
    Model(Arc<Language>),
}

pub(super) enum Drafting {
    None,
    Ngram(Ngram),
    Model(Box<Runner<DraftRun>>),
}

/// A draft that is not at work in its session: its caches, and what was measured of it.
pub struct Drafter {
    drafting: Drafting,
    controller: Controller,
    planned: bool,
    /// The tokens whose keys and values are in its caches.
    seen: Vec<u32>,
}

impl Drafter {
    fn new(target: &Runner<Verify>, draft: Draft) -> Result<Self> {
        let drafting = match draft {
            Draft::None => Drafting::None,
            Draft::Ngram => Drafting::Ngram(Ngram::new(2, 5)),
            Draft::Model(draft) => {
                agree(&target.model, &draft)?;
                let of_draft = Runner::new(&draft, target.room);
                plans::share_states(&of_draft.store, &target.store)?;
                Drafting::Model(Box::new(of_draft))
            }
        };
        let most = match drafting {
            Drafting::None => 0,
            _ => KMAX,
        };
        Ok(Self {
            drafting,
            controller: Controller::new(DraftLen::Off, most),
            planned: false,
            seen: Vec::new(),
        })
    }

    /// Bytes on the device that are its own: caches, and what its plans work on. Weights are its model's.
    pub fn bytes(&self) -> u64 {
        self.drafting.bytes()
    }
}

impl Drafting {
    fn bytes(&self) -> u64 {
        match self {
            Self::Model(draft) => draft
                .bytes()
                .saturating_sub(plans::shared_bytes(&draft.store)),
            Self::None | Self::Ngram(_) => 0,
        }
    }
}

/// A sequence of a target model, and of its draft. Tokens, keys and values stay on the device; what a new prompt has in
/// common with the sequence is not computed again.
pub struct Session {
    pub(super) target: Runner<Verify>,
    pub(super) drafting: Drafting,
    /// The tokens of the sequence that the host has seen.
    pub(super) known: Vec<u32>,
    /// The first so many have their keys and values in the target's caches.
    cached: usize,
    /// Likewise in the draft's.
    pub(super) drafted: usize,
    /// Tokens that the request began with.
    prompt: usize,
    pub(super) controller: Controller,
    /// Whether that knows what rounds cost by their plans.
    pub(super) planned: bool,
    pub(super) watching: Option<Watching>,
}

impl Session {
    /// A session of `target` with `draft`.
    ///
    /// # Errors
    /// [`Error::Usage`] where the two do not go together: another vocabulary, a draft that is larger than the target,
    /// or only one of them with an encoder.
    pub fn new(target: &Arc<Language>, draft: Draft, room: Room) -> Result<Self> {
        let vocab = target.config().vocab();
        let runner = Runner::new(target, room);
        plans::make_states(&runner.store, vocab, room)?;
        let drafter = Drafter::new(&runner, draft)?;
        Ok(Self {
            target: runner,
            drafting: drafter.drafting,
            known: Vec::new(),
            cached: 0,
            drafted: 0,
            prompt: 0,
            controller: drafter.controller,
            planned: false,
            watching: None,
        })
    }

    pub fn target(&self) -> &Arc<Language> {
        &self.target.model
    }

    /// `draft`, ready to be put to work by [`Session::exchange`].
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn drafter(&self, draft: Draft) -> Result<Drafter> {
        Drafter::new(&self.target, draft)
    }

    /// Has `next`, a drafter of this session, propose from the next request on; who did until now is returned, with its
    /// caches. The target's are kept: the text is the same.
    pub fn exchange(&mut self, next: Drafter) -> Drafter {
        let seen = self.known[..self.drafted.min(self.known.len())].to_vec();
        self.drafted = (next.seen.iter().zip(&self.known))
            .take_while(|(a, b)| a == b)
            .count();
        Drafter {
            drafting: std::mem::replace(&mut self.drafting, next.drafting),
            controller: std::mem::replace(&mut self.controller, next.controller),
            planned: std::mem::replace(&mut self.planned, next.planned),
            seen,
        }
    }

    /// Bytes on the device beside the models' weights.
    pub fn bytes(&self) -> u64 {
        self.target.bytes() + self.draft_bytes()
    }

    /// As [`Drafter::bytes`], of the draft at work.
    pub fn draft_bytes(&self) -> u64 {
        self.drafting.bytes()
    }

    /// The tokens of the sequence: the prompt and what was generated.
    pub fn tokens(&self) -> &[u32] {
        &self.known
    }

    /// Goes on from `prompt` as `request` asks. Tokens come as they are accepted; dropping the result cancels.
    ///
    /// # Errors
    /// [`Error::Usage`] where the prompt is empty, holds a token beyond the vocabulary or does not fit with `max_new`
    /// more, or where the request cannot be.
    pub fn generate(&mut self, prompt: &[u32], request: &Request) -> Result<Generation<'_>> {
        self.check(prompt, request)?;
        if matches!(request.draft_len, DraftLen::Auto | DraftLen::Planned) {
            self.plan_costs()?;
        }
        self.begin(prompt)?;
        let store = &self.target.store;
        plans::write_settings(store, &request.sampling)?;
        let stream = Stream::new(store, plans::OUTCOME, DEPTH)?;
        Ok(Generation::new(self, stream, request))
    }

    /// Whether [`Session::generate`] can go on from `prompt` as `request` asks; computes nothing.
    ///
    /// # Errors
    /// As [`Session::generate`].
    pub fn check(&self, prompt: &[u32], request: &Request) -> Result<()> {
        request.sampling.check()?;
        if request.max_new == 0 {
            return Err(Error::Usage(
                "0 new tokens were asked for: expected at least 1".into(),
            ));
        }
        let vocab = self.target.model.config().vocab();
        if prompt.is_empty() {
            return Err(Error::Usage(
                "the prompt is empty: expected at least one token".into(),
            ));
        }
        if let Some(at) = prompt.iter().position(|&t| t as usize >= vocab) {
            return Err(Error::Usage(format!(
                "token {} at position {at} of the prompt is beyond the model's vocabulary of {vocab}",
                prompt[at]
            )));
        }
        if let DraftLen::Fixed(k) = request.draft_len
            && k > KMAX
        {
            return Err(Error::Usage(format!(
                "a draft length of {k} is too long: at most {KMAX} tokens a round"
            )));
        }
        // A model with an encoder reads the prompt there, and begins its answer with one token.
        let positions = self.target.room.positions;
        let first = match self.target.model.has_encoder() {
            true if prompt.len() > positions => {
                return Err(Error::Usage(format!(
                    "the prompt has {} tokens, more than the {positions} that there is room for; ask for a longer \
                     context",
                    prompt.len()
                )));
            }
            true => 1,
            false => prompt.len(),
        };
        if first.saturating_add(request.max_new) > positions {
            return Err(Error::Usage(format!(
                "{first} tokens and {} new ones are more than the {positions} that there is room for; ask for fewer, \
                 or for a longer context or a sliding window",
                request.max_new
            )));
        }
        Ok(())
    }

    /// Makes the sequence `prompt`, with keys and values of all but the last token in the target's caches.
    fn begin(&mut self, prompt: &[u32]) -> Result<()> {
        let decoder_start = match self.target.model.config() {
            Config::T5(c) => Some(c.decoder_start),
            Config::Decoder(_) => None,
        };
        let sequence = match decoder_start {
            Some(first) => {
                self.encode(prompt)?;
                (self.cached, self.drafted) = (0, 0);
                self.known.clear();
                vec![first]
            }
            None => prompt.to_vec(),
        };
        let same = (self.known.iter().zip(&sequence))
            .take_while(|(a, b)| a == b)
            .count();
        let last = sequence.len() - 1;
        let keep = same.min(self.cached).min(last);
        self.target
            .store
            .write("history", keep, &sequence[keep..])?;
        self.target.fill(keep, last)?;
        self.target.store.write("start", 0, &[last as u32])?;
        self.drafted = self.drafted.min(keep);
        self.cached = last;
        self.prompt = sequence.len();
        self.known = sequence;
        if let Drafting::Ngram(ngram) = &mut self.drafting {
            ngram.truncate(0);
            ngram.push(&self.known);
        }
        Ok(())
    }

    /// Reads `prompt` with the encoders.
    fn encode(&mut self, prompt: &[u32]) -> Result<()> {
        self.target.encode(prompt)?;
        if let Drafting::Model(draft) = &mut self.drafting {
            draft.encode(prompt)?;
        }
        Ok(())
    }

    /// Takes note of a round's new tokens.
    pub(super) fn accept(&mut self, proposed: usize, accepted: usize, tokens: &[u32]) {
        let n = self.known.len();
        if proposed > 0 {
            // The draft ran over all tokens but the last proposal; what it proposed beyond the accepted is void.
            self.drafted = n + accepted.min(proposed - 1);
        }
        self.known.extend(tokens);
        self.cached = self.known.len() - 1;
        self.drafted = self.drafted.min(self.cached);
        if let Drafting::Ngram(ngram) = &mut self.drafting {
            ngram.push(tokens);
        }
    }

    /// Sets the sequence back to what the host knows.
    pub(super) fn rewind(&mut self) -> Result<()> {
        let Some(last) = self.known.len().checked_sub(1) else {
            return Err(Error::Usage("the sequence is empty".into()));
        };
        self.target.store.write("history", 0, &self.known)?;
        self.target.store.write("start", 0, &[last as u32])?;
        self.target.store.write("draft_start", 0, &[last as u32])
    }

    /// Forgets the sequence: nothing that was computed is used again.
    pub fn forget(&mut self) {
        self.known.clear();
        (self.cached, self.drafted) = (0, 0);
    }

    /// Tokens of the answer that the draft's caches lack where its next round begins, `ahead` tokens from now.
    pub(super) fn behind(&self, ahead: usize) -> usize {
        let begin = (self.known.len() + ahead).saturating_sub(2);
        begin.saturating_sub(self.drafted.max(self.prompt))
    }

    /// Brings the draft's caches up to where its next round begins, `ahead` tokens from now: as many plain steps are under
    /// way.
    pub(super) fn catch_up(&mut self, ahead: usize) -> Result<()> {
        let n = self.known.len() + ahead;
        if let Drafting::Model(draft) = &mut self.drafting {
            let begin = n.saturating_sub(2);
            if self.drafted < begin {
                draft.fill(self.drafted, begin)?;
                self.drafted = begin;
            }
            draft.store.write("start", 0, &[begin as u32])?;
        }
        Ok(())
    }
}

/// Whether proposals of `draft` can be verified by `target`.
fn agree(target: &Language, draft: &Language) -> Result<()> {
    let (t, d) = (target.config().vocab(), draft.config().vocab());
    if t != d {
        return Err(Error::Usage(format!(
            "the draft's vocabulary has {d} tokens, the target's {t}: they must be the same"
        )));
    }
    if target.has_encoder() != draft.has_encoder() {
        let which = |has| if has { "the target" } else { "the draft" };
        return Err(Error::Usage(format!(
            "only {} has an encoder: both must be of one kind",
            which(target.has_encoder())
        )));
    }
    let (t, d) = (target.parameters()?, draft.parameters()?);
    if d > t {
        return Err(Error::Usage(format!(
            "the draft has {d} parameters, more than the target's {t}: it must be the smaller one"
        )));
    }
    Ok(())
}
