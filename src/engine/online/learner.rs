//! What learns: the buffer, the trainer, the update that is under way, and the draft that it changes.

use super::capacity::Capacity;
use super::lesson::{Batching, Lesson, hold_out, lessons};
use super::rehearsal::Rehearsal;
use super::replay::Replay;
use super::update::{Update, Verdict};
use super::usual::Usual;
use super::writer::Writer;
use super::{Figures, OnlineSettings};
use crate::engine::distill::{Settings, Trainer, WEIGHTS, alike};
use crate::engine::language::{Language, Renewal, Session};
use crate::error::Result;
use crate::io::{Checkpoint, Lock};
use crate::tensor::DType;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Gradients of a larger norm are scaled down to it.
const CLIP: f32 = 1.0;
/// What a learning rate is multiplied by where an update is rolled back, and where one stands, up to the settings'; and
/// the least share of that.
const SLOWER: f32 = 0.5;
const FASTER: f32 = 1.5;
const SLOWEST: f32 = 1.0 / 64.0;

pub(super) struct Learner {
    pub draft: Arc<Language>,
    target: String,
    /// Of what it goes on from: rows that it had learned, and what it began as.
    past_rows: usize,
    parent: Option<String>,
    pub(super) vocab: usize,
    pub(super) capacity: Capacity,
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
    /// What was learned before, to be learned once more.
    pub(super) past: Rehearsal,
    /// Requests and texts that were shared out.
    seen: usize,
    /// How proposals go.
    pub(super) usual: Usual,
    /// What updates are judged by.
    pub(super) held: VecDeque<Lesson>,
    pub(super) begun: Instant,
    /// What writes the weights that are served anew.
    pub(super) renewal: Option<Renewal>,
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
        let (draft, past) = match saved {
            Some(folder) => resumed(draft, folder)?,
            None => (draft.fork()?, Past::default()),
        };
        let draft = Arc::new(draft);
        let vocab = target.config().vocab();
        let capacity = Capacity::of(&settings, target);
        let mut replay = Replay::new(settings.interval, capacity.buffer, settings.max_age);
        if settings.keep_top.is_some() {
            replay = Replay::new(settings.interval, settings.max_rows, settings.max_age);
            replay.bound(settings.max_bytes);
        }
        let training = Settings {
            loss: settings.loss,
            lr: settings.lr,
            low_rank: settings.low_rank,
            clip: Some(CLIP),
            halves: draft.options().dtype == DType::F16,
            ..Settings::default()
        };
        Ok(Self {
            trainer: Trainer::new(&draft, training)?,
            draft,
            _lock: lock,
            target: target.name(),
            past_rows: past.rows,
            parent: past.parent,
            vocab,
            capacity,
            replay,
            update: None,
            writer: Writer::new(target, &settings)?,
            prompts: VecDeque::new(),
            drawn: 0,
            taught: Vec::new(),
            past: Rehearsal::default(),
            seen: 0,
            usual: Usual::default(),
            held: VecDeque::new(),
            begun: Instant::now(),
            renewal: None,
            stale: false,
            unsaved: false,
            figures: Figures {
                buffer_bytes: 4 * ((capacity.buffer + capacity.table) * vocab) as u64,
                version: past.version,
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

    /// Milliseconds of a slice, where no one waits for it.
    pub fn slice_ms(&self) -> f64 {
        self.settings.slice_ms
    }

    pub fn updating(&self) -> bool {
        self.update.is_some() || !self.prompts.is_empty()
    }

    pub fn pending(&self) -> bool {
        self.updating() || self.replay.due(self.begun.elapsed()).is_some()
    }

    /// Milliseconds that a slice may take of the device after `served` seconds of serving, in a request that began when
    /// `before` seconds were spent and whose rounds take `round` seconds; `None` where there is to be none. The share of
    /// all time is that of each round, too: so no token waits much longer than others.
    pub fn allowance(&self, served: f64, before: f64, round: f64) -> Option<f64> {
        let taken = self.figures.serve_update_seconds + self.spent() - before;
        let share = self.settings.share;
        let may = self.updating() && taken < share * served;
        may.then(|| self.settings.slice_ms.min(1e3 * share * round))
    }

    /// Seconds of all updates so far.
    pub fn spent(&self) -> f64 {
        self.figures.update_seconds
    }

    /// Whether the draft's keys and values are to be computed again; says so once.
    pub fn renewed(&mut self) -> bool {
        std::mem::take(&mut self.stale) && self.settings.rebuild
    }

    /// Begins an update where one is due and none is under way: the buffer's rows are taken along, and free again.
    pub fn start(&mut self, session: &mut Session) -> Result<()> {
        if self.updating() || self.replay.due(self.begun.elapsed()).is_none() {
            return Ok(());
        }
        let begun = Instant::now();
        self.look();
        let given = self.drain(session)?;
        self.add(given);
        if self.prompts.is_empty() {
            self.begin();
        }
        self.figures.update_seconds += begun.elapsed().as_secs_f64();
        Ok(())
    }

    /// Rows of the trainer's table that are in use.
    pub(super) fn used_rows(&self) -> impl Iterator<Item = u32> {
        let lessons = (self.held.iter()).chain(&self.taught);
        let lessons = lessons.chain(&self.past.lessons);
        lessons.flat_map(|l| l.rows.iter().filter_map(|(_, row)| row.slot()))
    }

    /// Those that are not.
    pub(super) fn free_rows(&self) -> impl Iterator<Item = u32> + use<> {
        let used: HashSet<u32> = self.used_rows().collect();
        (0..self.capacity.table as u32).filter(move |row| !used.contains(row))
    }

    /// Where the draft meets something new it is to learn at full speed, and to be judged by that, not by what was asked
    /// before.
    fn look(&mut self) {
        if self.usual.shifted() {
            self.trainer.slow_to(1.0);
            self.held.clear();
            self.figures.shifts += 1;
        }
    }

    /// Shares `given` among what is learned and what is held out.
    fn add(&mut self, given: Vec<Lesson>) {
        let (taught, held) = lessons(given, self.settings.context, &mut self.seen);
        self.taught.extend(taught);
        self.held.extend(held);
    }

    /// Begins the update by what was gathered for it; not where that is a single row, which could not be judged.
    fn begin(&mut self) {
        if self.held.is_empty() {
            let Some(lesson) = hold_out(&mut self.taught) else {
                return;
            };
            self.held.push_back(lesson);
        }
        let taught = std::mem::take(&mut self.taught);
        // As many as were taught last.
        let new = taught.iter().map(|l| l.rows.len()).sum::<usize>() / 4;
        let mut rows: usize = self.held.iter().map(|l| l.rows.len()).sum();
        while let Some(first) = self.held.front()
            && rows - first.rows.len() >= self.capacity.held.max(new)
        {
            rows -= first.rows.len();
            self.held.pop_front();
        }
        if !taught.is_empty() {
            let rows = taught.iter().map(|l| l.rows.len()).sum();
            let Capacity {
                held: least,
                remembered: most,
                run,
                ..
            } = self.capacity;
            let taught = self.past.mix(taught, least, most);
            let held = self.held.make_contiguous();
            let s = &self.settings;
            let batching = Batching {
                sequences: s.sequences,
                rows: run,
                vocab: self.vocab,
            };
            let mut update = Update::new(&taught, held, batching, s.steps, s.tolerance);
            // Those learned once more are no new ones.
            update.rows = rows;
            self.update = Some(update);
        }
    }

    /// One slice of the update under way, of up to `ms` of the device; how long rounds were kept waiting for it and for
    /// the one before, as far as that was not told yet.
    pub fn slice(&mut self, ms: f64) -> Result<Duration> {
        // The part before, as long as it was on the device; then what this takes on the host.
        let before = self.trainer.took()?;
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
        let verdict = update.slice(&mut self.trainer, ms)?;
        if let Some(verdict) = verdict {
            self.end(verdict)?;
        }
        // What was written while the device ran the part's first dispatches is in the part's time, told next.
        let written = (self.trainer.submitted()).and_then(|at| at.checked_duration_since(begun));
        let took = written.unwrap_or_else(|| begun.elapsed())
            + Duration::from_secs_f64(before.unwrap_or(0.0) / 1e3);
        let figures = &mut self.figures;
        figures.slices += 1;
        figures.update_seconds += took.as_secs_f64();
        figures.longest_slice_ms = figures.longest_slice_ms.max(before.unwrap_or(0.0));
        if self.trainer.plans() != plans {
            figures.plan_seconds += begun.elapsed().as_secs_f64();
        }
        Ok(took)
    }

    /// Ends the update: what stands is served from the next round on.
    fn end(&mut self, verdict: Verdict) -> Result<()> {
        let Some(update) = self.update.take() else {
            return Ok(());
        };
        self.figures.rows += update.rows;
        self.figures.rejected += update.rejected;
        self.figures.canary = Some(update.overlaps());
        let rate = self.trainer.rate();
        if verdict == Verdict::RolledBack {
            self.figures.rolled_back += 1;
            self.trainer.slow_to((rate * SLOWER).max(SLOWEST));
            return Ok(());
        }
        self.trainer.slow_to((rate * FASTER).min(1.0));
        self.serve()?;
        self.figures.updates += 1;
        self.figures.version += 1;
        (self.stale, self.unsaved) = (true, true);
        Ok(())
    }

    /// Has the weights served as they are now: packed on the device, where each of their constants can be.
    fn serve(&mut self) -> Result<()> {
        let known = self.renewal.take();
        if let Some(states) = self.trainer.states() {
            self.renewal = self.draft.renewal(states, known)?;
        }
        let Some(renewal) = &self.renewal else {
            return self.draft.replace(&self.trainer.export()?);
        };
        renewal.submit()?;
        let standing = self.trainer.standing(false);
        self.draft
            .follow(Arc::new(move |source| standing.values(source)));
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
        let parent = self.parent.clone().unwrap_or_else(|| self.draft.name());
        say("parent", parent);
        say("target", self.target.clone());
        let rows = self.past_rows.saturating_add(self.figures.rows);
        say("rows", rows.to_string());
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

/// What is known of a draft that goes on learning.
#[derive(Default)]
struct Past {
    version: u64,
    /// Rows of its versions.
    rows: usize,
    /// What it began as.
    parent: Option<String>,
}

/// The draft in `folder`, to be run as `like` is, and what is known of it.
fn resumed(like: &Language, folder: &Path) -> Result<(Language, Past)> {
    let draft = alike(like, folder)?;
    let file = Checkpoint::open(&folder.join(WEIGHTS))?;
    let said = |key: &str| file.metadata().get(&format!("cascadia.{key}"));
    let number = |key: &str| said(key).and_then(|v| v.parse().ok());
    let past = Past {
        version: number("version").unwrap_or(0),
        rows: number("rows").unwrap_or(0) as usize,
        parent: said("parent").cloned(),
    };
    Ok((draft, past))
}
