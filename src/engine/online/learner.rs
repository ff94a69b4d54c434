//! What learns: the buffer, the trainer, the update that is under way, and the draft that it changes.

use super::lesson::{Lesson, lessons};
use super::replay::Replay;
use super::update::{Update, Verdict};
use super::writer::Writer;
use super::{Figures, OnlineSettings};
use crate::engine::distill::{Settings, Trainer};
use crate::engine::language::{Language, Session};
use crate::error::{Error, Result};
use crate::io::{Checkpoint, LanguageFiles, Lock};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Held-out rows that an update is judged by: the last so many, and all of the last buffer.
const CANARY: usize = 64;
/// Gradients of a larger norm are scaled down to it.
const CLIP: f32 = 1.0;
/// The file of a draft's weights in its folder.
const WEIGHTS: &str = "model.safetensors";

pub(super) struct Learner {
    pub draft: Arc<Language>,
    target: String,
    pub(super) vocab: usize,
    pub(super) settings: OnlineSettings,
    pub(super) trainer: Trainer,
    /// Of the folder that it saves to.
    _lock: Option<Lock>,
    pub(super) replay: Replay,
    update: Option<Update>,
    /// What writes the draft's own texts, where it learns from them, and prompts that it has not answered yet.
    pub(super) writer: Option<Writer>,
    pub(super) prompts: VecDeque<(Vec<u32>, usize)>,
    /// Draws by now.
    pub(super) drawn: u64,
    /// What the update will learn from that they are written for.
    taught: Vec<Lesson>,
    held: VecDeque<Lesson>,
    pub(super) begun: Instant,
    /// Sequences of a slice.
    sequences: usize,
    /// Whether the draft's keys and values are to be computed again.
    stale: bool,
    unsaved: bool,
    pub(super) figures: Figures,
}

impl Learner {
    pub fn new(
        target: &Arc<Language>,
        draft: &Arc<Language>,
        settings: OnlineSettings,
    ) -> Result<Self> {
        settings.check()?;
        let lock = settings.save.as_deref().map(Lock::of).transpose()?;
        let saved = (settings.save.as_ref()).filter(|d| d.join(WEIGHTS).exists());
        let (draft, version) = match saved {
            Some(folder) => resumed(draft, folder)?,
            None => (draft.fork()?, 0),
        };
        let draft = Arc::new(draft);
        let vocab = target.config().vocab();
        let rows = settings.rows(vocab);
        let mut replay = Replay::new(settings.interval, rows, settings.max_age);
        if settings.keep_top.is_some() {
            replay = Replay::new(settings.interval, settings.max_rows, settings.max_age);
            replay.bound(settings.max_bytes);
        }
        let training = Settings {
            loss: settings.loss,
            lr: settings.lr,
            clip: Some(CLIP),
            ..Settings::default()
        };
        Ok(Self {
            trainer: Trainer::new(&draft, training)?,
            draft,
            _lock: lock,
            target: target.name(),
            vocab,
            replay,
            update: None,
            writer: Writer::new(target, &settings)?,
            prompts: VecDeque::new(),
            drawn: 0,
            taught: Vec::new(),
            held: VecDeque::new(),
            begun: Instant::now(),
            sequences: settings.sequences,
            stale: false,
            unsaved: false,
            figures: Figures {
                buffer_bytes: 4 * (rows * vocab) as u64,
                version,
                ..Figures::default()
            },
            settings,
        })
    }

    pub fn figures(&self) -> Figures {
        Figures {
            buffered: self.replay.rows(),
            host_bytes: self.replay.bytes(),
            ..self.figures.clone()
        }
    }

    pub fn updating(&self) -> bool {
        self.update.is_some() || !self.prompts.is_empty()
    }

    pub fn pending(&self) -> bool {
        self.updating() || self.replay.due(self.begun.elapsed()).is_some()
    }

    /// Whether a slice may be made after `served` seconds of serving, in a request that began when `before` seconds
    /// were spent.
    pub fn may(&self, served: f64, before: f64) -> bool {
        let taken = self.figures.serve_update_seconds + self.spent() - before;
        self.updating() && taken < self.settings.share * served
    }

    /// Seconds of all updates so far.
    pub fn spent(&self) -> f64 {
        self.figures.update_seconds
    }

    /// Whether the draft's keys and values are to be computed again; says so once.
    pub fn renewed(&mut self) -> bool {
        std::mem::take(&mut self.stale) && self.settings.rebuild
    }

    /// Begins an update where one is due and none is under way: the buffer's rows are read, and free again.
    pub fn start(&mut self, session: &mut Session) -> Result<()> {
        if self.updating() || self.replay.due(self.begun.elapsed()).is_none() {
            return Ok(());
        }
        let begun = Instant::now();
        let given = self.drain(session)?;
        self.add(given);
        if self.prompts.is_empty() {
            self.begin();
        }
        self.figures.update_seconds += begun.elapsed().as_secs_f64();
        Ok(())
    }

    /// Shares `given` among what is learned and what is held out.
    fn add(&mut self, given: Vec<Lesson>) {
        let (taught, held) = lessons(given, self.settings.context);
        self.taught.extend(taught);
        self.held.extend(held);
    }

    /// Begins the update by what was gathered for it.
    fn begin(&mut self) {
        let taught = std::mem::take(&mut self.taught);
        // As many as were taught last.
        let new = taught.iter().map(|l| l.rows.len()).sum::<usize>() / 4;
        let mut rows: usize = self.held.iter().map(|l| l.rows.len()).sum();
        while let Some(first) = self.held.front()
            && rows - first.rows.len() >= CANARY.max(new)
        {
            rows -= first.rows.len();
            self.held.pop_front();
        }
        if !taught.is_empty() {
            let held = self.held.make_contiguous();
            let (sequences, s) = (self.sequences, &self.settings);
            let update = Update::new(&taught, held, sequences, s.steps, s.tolerance, self.vocab);
            self.update = Some(update);
        }
    }

    /// One slice of the update under way; how long it took.
    pub fn slice(&mut self) -> Result<Duration> {
        let (begun, plans) = (Instant::now(), self.trainer.plans());
        if let Some(prompt) = self.prompts.pop_front() {
            let given = self.write(prompt)?;
            self.add(given);
            if self.prompts.is_empty() {
                self.begin();
            }
            self.figures.slices += 1;
            self.figures.update_seconds += begun.elapsed().as_secs_f64();
            return Ok(begun.elapsed());
        }
        let Some(update) = &mut self.update else {
            return Ok(Duration::ZERO);
        };
        let verdict = update.slice(&mut self.trainer)?;
        if let Some(verdict) = verdict {
            self.end(verdict)?;
        }
        let took = begun.elapsed();
        let figures = &mut self.figures;
        figures.slices += 1;
        figures.update_seconds += took.as_secs_f64();
        if self.trainer.plans() == plans && verdict.is_none() {
            let ms = took.as_secs_f64() * 1e3;
            figures.longest_slice_ms = figures.longest_slice_ms.max(ms);
            // For the next update's slices.
            if ms > self.settings.slice_ms {
                self.sequences = (self.sequences / 2).max(1);
            } else if ms < self.settings.slice_ms / 4.0 {
                self.sequences = (self.sequences * 2).min(self.settings.sequences);
            }
        }
        Ok(took)
    }

    /// Ends the update: what stands is served from the next round on.
    fn end(&mut self, verdict: Verdict) -> Result<()> {
        let Some(update) = self.update.take() else {
            return Ok(());
        };
        let figures = &mut self.figures;
        figures.rows += update.rows;
        figures.rejected += update.rejected;
        figures.canary = Some(update.overlaps());
        if verdict == Verdict::RolledBack {
            figures.rolled_back += 1;
            return Ok(());
        }
        self.draft.replace(&self.trainer.export()?)?;
        figures.updates += 1;
        figures.version += 1;
        (self.stale, self.unsaved) = (true, true);
        Ok(())
    }

    /// Takes note of what updates took of serving.
    pub fn in_serving(&mut self, seconds: f64) {
        self.figures.serve_update_seconds += seconds;
    }

    /// Saves the draft where it is new and a folder is given. What the operating system refuses is noted: the draft that
    /// is there stays, and serving goes on.
    pub fn save(&mut self) {
        // While an update is under way the trainer's weights are not those that stand.
        if self.updating() || !std::mem::take(&mut self.unsaved) {
            return;
        }
        let Some(folder) = &self.settings.save else {
            return;
        };
        let mut lineage = BTreeMap::new();
        let mut say = |key: &str, value: String| lineage.insert(format!("cascadia.{key}"), value);
        say("version", self.figures.version.to_string());
        say("parent", self.draft.name());
        say("target", self.target.clone());
        say("rows", self.figures.rows.to_string());
        if let Some([before, after]) = self.figures.canary {
            say("overlap_before", format!("{before:.4}"));
            say("overlap_after", format!("{after:.4}"));
        }
        self.figures.save_error = match self.trainer.save(folder, &lineage) {
            Ok(()) => None,
            Err(e) => {
                self.unsaved = true;
                Some(e.to_string())
            }
        };
    }
}

/// The draft in `folder`, to be run as `like` is, and its version.
fn resumed(like: &Language, folder: &Path) -> Result<(Language, u64)> {
    let files = Arc::new(LanguageFiles::open(folder)?);
    let draft = Language::open(like.device(), files, like.options())?;
    if draft.parameters()? != like.parameters()? || draft.config().vocab() != like.config().vocab()
    {
        return Err(Error::file(
            folder,
            format!(
                "holds a draft of {} parameters and {} tokens, the one given has {} and {}; name another folder to \
                 save to",
                draft.parameters()?,
                draft.config().vocab(),
                like.parameters()?,
                like.config().vocab()
            ),
        ));
    }
    let file = Checkpoint::open(&folder.join(WEIGHTS))?;
    let version = file.metadata().get("cascadia.version");
    Ok((draft, version.and_then(|v| v.parse().ok()).unwrap_or(0)))
}
