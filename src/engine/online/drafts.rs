//! Many drafts, one target: each request goes to one of them, by a label that comes with it (its language, its topic:
//! section 4.3 of "Online Speculative Decoding", arXiv 2310.07177), or by what each of them was measured to save. Arm zero
//! looks proposals up in the text. Each draft learns from its own requests alone.

use super::arm::{Arm, ArmFigures};
use super::capacity::Capacity;
use super::measured::Measured;
use super::serve::{Each, serve};
use super::{OnlineSettings, Served};
use crate::engine::language::{Draft, DraftLen, Language, Request, Room, Session, Stats, Watch};
use crate::engine::online::Positions;
use crate::engine::speculate::{Bandit, Seen};
use crate::error::{Error, Result};
use crate::io::Lock;
use std::path::PathBuf;
use std::sync::Arc;

/// The name of arm zero.
pub const NGRAM: &str = "ngram";
/// The name of the draft that others begin as.
pub const BASE: &str = "base";

/// How drafts are kept.
#[derive(Clone, Debug, Default)]
pub struct DraftsSettings {
    /// How each of them learns; where `None` they stay as they are. Where it saves to is `folder`'s matter.
    pub online: Option<OnlineSettings>,
    /// A folder with a draft in each subfolder, under its name: read at the start, written to as drafts learn. With it
    /// stands what they saved by now.
    pub folder: Option<PathBuf>,
    /// Bytes on the device that they may take together: the one that was not taken for the longest time leaves it first.
    pub memory: Option<u64>,
}

/// What a request brought, and whose proposals it was served by.
#[derive(Clone, Debug)]
pub struct Routed {
    pub draft: String,
    /// Whether its label said so; else what was measured did.
    pub labelled: bool,
    pub served: Served,
}

/// Several drafts of a target.
pub struct Drafts {
    pub(super) session: Session,
    pub(super) arms: Vec<Arm>,
    bandit: Bandit,
    /// Requests routed by what was measured.
    measured: u64,
    pub(super) base: Option<Arc<Language>>,
    pub(super) settings: DraftsSettings,
    /// Of the folder, where drafts learn: those that stay as they are can be read by several processes.
    lock: Option<Lock>,
    /// Whether something was measured that is not written.
    unwritten: bool,
    /// Which one is at work in the session.
    pub(super) at: usize,
    pub(super) clock: u64,
    served: f64,
    /// Why what was measured could not be written the last time.
    write_error: Option<String>,
    pub(super) left_out: Vec<String>,
}

/// `text` as the name of a draft, or of the label that stands for it: letters, digits, `-`, `_` and `.`, as it is the
/// name of a folder, too.
///
/// # Errors
/// [`Error::Usage`] where it is none.
pub fn name(text: &str) -> Result<&str> {
    let fine = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    if (1..=64).contains(&text.len()) && !text.starts_with('.') && text.chars().all(fine) {
        return Ok(text);
    }
    Err(Error::Usage(format!(
        "`{}` cannot be a draft's name; expected up to 64 letters, digits, `-`, `_` and `.`",
        text.escape_default()
    )))
}

impl Drafts {
    /// `target` with what is looked up in the text, `base` if any, `named` drafts, and those of the folder, which come
    /// in the place of those of the same name. Where they learn, a label without a draft gets one, which begins as
    /// `base`.
    ///
    /// # Errors
    /// [`Error::Usage`] where settings or names cannot be, or a draft does not go with the target or takes more memory
    /// than all may; [`Error::File`] where the folder holds something else or is not there, or drafts learn and another
    /// process writes to it.
    pub fn new(
        target: &Arc<Language>,
        base: Option<Arc<Language>>,
        named: Vec<(String, Arc<Language>)>,
        settings: DraftsSettings,
        room: Room,
    ) -> Result<Self> {
        let mut session = Session::new(target, Draft::Ngram, room)?;
        let (mut rows, mut all) = (0, false);
        if let Some(online) = &settings.online {
            online.check()?;
            rows = Capacity::of(online, target).ring(online, room.positions);
            all = online.positions == Positions::All;
        }
        session.watch(Watch { rows, all })?;
        let (mut lock, mut measured) = (None, Measured::default());
        if let Some(folder) = &settings.folder {
            if settings.online.is_none() && !folder.is_dir() {
                let message = "is no folder of drafts; it is made where drafts learn";
                return Err(Error::file(folder, message));
            }
            if settings.online.is_some() {
                lock = Some(Lock::of(folder)?);
            }
            measured = Measured::read(folder)?;
        }
        let mut drafts = Self {
            session,
            arms: Vec::new(),
            bandit: Bandit::new(measured.requests),
            measured: measured.requests,
            base: base.clone(),
            settings,
            lock,
            unwritten: false,
            at: 0,
            clock: 0,
            served: 0.0,
            write_error: None,
            left_out: Vec::new(),
        };
        drafts.add(NGRAM, None, &measured)?;
        for (name, draft) in base.map(|b| (BASE.to_string(), b)).into_iter().chain(named) {
            drafts.add(&name, Some(draft), &measured)?;
        }
        for name in drafts.saved()? {
            if drafts.find(&name).is_some() {
                continue;
            }
            match drafts.read(&name) {
                Ok(draft) => {
                    let added = drafts.add(&name, draft, &measured);
                    added.map_err(|e| drafts.within(&name, &e))?;
                }
                Err(e @ Error::DeviceLost(_)) => return Err(e),
                Err(e) => drafts.left_out.push(drafts.within(&name, &e).to_string()),
            }
        }
        Ok(drafts)
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.arms.iter().position(|a| a.name == name)
    }

    fn add(&mut self, text: &str, draft: Option<Arc<Language>>, known: &Measured) -> Result<()> {
        name(text)?;
        if self.find(text).is_some() {
            return Err(Error::Usage(format!("there are two drafts `{text}`")));
        }
        // What it has learned, where it has; one that goes on learning finds that itself.
        let draft = match (self.settings.online.is_some(), draft) {
            (false, Some(given)) => Some(self.read(text)?.unwrap_or(given)),
            (_, draft) => draft,
        };
        if let Some(draft) = &draft {
            // Whether it goes with the target.
            drop(self.session.drafter(Draft::Model(draft.clone()))?);
        }
        let arm = Arm::new(text, draft);
        self.fits(&arm)?;
        self.arms.push(arm);
        self.bandit
            .add(known.drafts.get(text).copied().unwrap_or_default());
        Ok(())
    }

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

    /// The names of all drafts.
    pub fn names(&self) -> Vec<&str> {
        self.arms.iter().map(|a| a.name.as_str()).collect()
    }

    /// Whether `label` names a draft, or one can be begun for it.
    ///
    /// # Errors
    /// [`Error::Usage`] where not; it names those that there are.
    pub fn check(&self, label: &str) -> Result<()> {
        if self.find(label).is_some() {
            return Ok(());
        }
        name(label)?;
        if self.settings.online.is_some() && self.base.is_some() {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "there is no draft `{label}`; there are {}. One is begun where drafts learn and there is one to begin as",
            self.names().join(", ")
        )))
    }

    /// The draft of `label`, which is begun where there is none and it can be.
    fn labelled(&mut self, label: &str) -> Result<usize> {
        self.check(label)?;
        if let Some(at) = self.find(label) {
            return Ok(at);
        }
        self.add(label, self.base.clone(), &Measured::default())?;
        Ok(self.arms.len() - 1)
    }

    /// How `arm` learns.
    pub(super) fn online(&self, arm: usize) -> Option<OnlineSettings> {
        let online = self.settings.online.as_ref()?;
        let rows = Capacity::of(online, self.session.target()).buffer;
        let save = self.settings.folder.as_ref();
        Some(OnlineSettings {
            // They share the rows on the device.
            max_rows: (rows / self.arms.len().max(2)).max(1),
            save: save.map(|folder| folder.join(&self.arms[arm].name)),
            ..online.clone()
        })
    }

    /// Serves a request as [`super::Online::serve_shown`], by the draft of `label`, or without one by the draft that is
    /// likely to save the most.
    ///
    /// # Errors
    /// As there; [`Error::Usage`] where there is no such draft and none is begun.
    pub fn serve(
        &mut self,
        prompt: &[u32],
        request: &Request,
        label: Option<&str>,
        each: &mut Each<'_>,
    ) -> Result<Routed> {
        self.session.check(prompt, request)?;
        let arm = match label {
            Some(label) => self.labelled(label)?,
            None => self.bandit.choose(),
        };
        self.take(arm)?;
        let learner = self.arms[arm].learner.as_mut();
        let session = &mut self.session;
        let served = serve(session, learner, &mut self.served, prompt, request, each)?;
        self.arms[arm].note(&served.stats);
        if label.is_none() {
            self.measured += 1;
            self.unwritten = true;
            self.bandit
                .record(arm, saved(&served.stats, request.draft_len));
        }
        if let Some(most) = self.settings.memory {
            self.make_room(most, arm)?;
        }
        Ok(Routed {
            draft: self.arms[arm].name.clone(),
            labelled: label.is_some(),
            served,
        })
    }

    /// Uses idle time: ends the updates that are due of drafts on the device, and writes what was measured. What the
    /// operating system refuses is noted, and serving goes on.
    ///
    /// # Errors
    /// What training returns.
    pub fn idle(&mut self) -> Result<()> {
        for arm in 0..self.arms.len() {
            let here = arm == self.at || self.arms[arm].drafter.is_some();
            if let Some(learner) = self.arms[arm].learner.as_mut().filter(|_| here) {
                learner.finish(&mut self.session)?;
            }
        }
        if let Some(most) = self.settings.memory {
            self.make_room(most, self.at)?;
        }
        if self.unwritten {
            self.write_error = self.write().err().map(|e| e.to_string());
            self.unwritten = self.write_error.is_some();
        }
        Ok(())
    }

    /// Why what was measured could not be written the last time.
    pub fn write_error(&self) -> Option<&str> {
        self.write_error.as_deref()
    }

    /// Writes what was measured, where there is a folder. One that another process writes to is left to it.
    fn write(&self) -> Result<()> {
        let Some(folder) = &self.settings.folder else {
            return Ok(());
        };
        let _now = match &self.lock {
            Some(_) => None,
            None => match Lock::of(folder) {
                Err(Error::File { .. }) => return Ok(()),
                lock => Some(lock?),
            },
        };
        let seen = self.arms.iter().zip(self.bandit.arms());
        let measured = Measured {
            requests: self.measured,
            drafts: seen.map(|(arm, seen)| (arm.name.clone(), *seen)).collect(),
        };
        measured.write(folder)
    }

    /// Whether there is something left for [`Drafts::idle`] of a draft on the device.
    pub fn pending(&self) -> bool {
        let here = |arm: &usize| *arm == self.at || self.arms[*arm].drafter.is_some();
        let learners = (0..self.arms.len())
            .filter(here)
            .map(|arm| &self.arms[arm].learner);
        learners.flatten().any(|l| l.pending())
    }

    /// What each of them did and costs, arm zero first.
    pub fn figures(&self) -> Vec<ArmFigures> {
        let one = |(i, (arm, seen)): (usize, (&Arm, &Seen))| ArmFigures {
            name: arm.name.clone(),
            bytes: self.bytes_of(i),
            parked: arm.parked,
            requests: arm.requests,
            tokens: arm.done.tokens,
            rounds: arm.done.rounds,
            proposed: arm.done.proposed,
            accepted: arm.done.accepted,
            saved: seen.mean(),
            online: arm.learner.as_ref().map(|l| l.figures()),
        };
        let arms = self.arms.iter().zip(self.bandit.arms());
        arms.enumerate().map(one).collect()
    }
}

/// The share that proposals saved of plain decoding: of its time where the draft's length goes by the clock, too; else of
/// the target's runs, so that the same requests are routed the same.
fn saved(stats: &Stats, draft_len: DraftLen) -> f64 {
    let runs = 1.0 - stats.rounds as f64 / stats.tokens.max(1) as f64;
    match (draft_len, stats.speedup()) {
        (DraftLen::Auto, Some(speedup)) => 1.0 - 1.0 / speedup.max(1.0),
        _ => runs,
    }
}
