//! How `distill` and `train` keep what they made: the folder is theirs meanwhile, only what has not diverged is saved, and a
//! later run goes on with the same training alone.

use super::training::{Course, Training};
use cascadia::engine::distill::{Start, Trainer, alike, holds, mixed};
use cascadia::engine::language::Language;
use cascadia::io::{Checkpoint, Lock, folder};
use cascadia::models::language::Config;
use cascadia::{Error, Result};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What a later run goes on from, in the model's folder.
const STATE: &str = "training.safetensors";
/// What its metadata say beside the trainer's own.
const START_NORM: &str = "start_norm";
const START_LOSS: &str = "start_loss";

/// The folder of a model, which is this process's as long as this lives.
pub struct Kept<'a> {
    output: &'a Path,
    course: &'a Course<'a>,
    /// What tells this training from others, by the names of flags; empty where no state is kept.
    said: BTreeMap<String, String>,
    /// The norm of the weights as they were given.
    norm: f64,
    start: Option<Start>,
    _lock: Lock,
}

/// Locks `output` where it is there; refuses it where it holds what is not like `model`.
pub fn claim(output: &Path, model: &Language) -> Result<Option<Lock>> {
    if !output.exists() {
        return Ok(None);
    }
    let lock = Lock::of(output)?;
    if holds(output) {
        alike(model, output)?;
    }
    Ok(Some(lock))
}

impl<'a> Kept<'a> {
    /// For a training that has not begun; goes on where the last one ended, where --resume says so.
    pub fn new(
        training: &'a Training,
        course: &'a Course,
        lock: Option<Lock>,
        trainer: &mut Trainer,
        said: impl FnOnce() -> Result<BTreeMap<String, String>>,
    ) -> Result<Self> {
        let output = training.output.as_path();
        let said = match training.resume || training.save_every.is_some() {
            true => said()?,
            false => BTreeMap::new(),
        };
        let (mut norm, mut start) = (trainer.weights_norm()?, None);
        if training.resume {
            let state = output.join(STATE);
            let [before, loss] = same(&state, &said, trainer, norm)?;
            trainer.resume(&state)?;
            norm = before;
            start = Some(Start {
                norm: course.given.then_some(norm),
                loss,
            });
        }
        let lock = match lock {
            Some(lock) => lock,
            None => match claim(output, trainer.model())? {
                Some(lock) => lock,
                None => Lock::of(output)?,
            },
        };
        Ok(Self {
            output,
            course,
            said,
            norm,
            start,
            _lock: lock,
        })
    }

    /// Takes note of the loss of the first batch, before its step.
    pub fn began(&mut self, loss: f64) {
        let norm = self.course.given.then_some(self.norm);
        self.start.get_or_insert(Start { norm, loss });
    }

    /// Saves the model, with where it comes from, unless it diverged; with `state` what a later run goes on from, too.
    /// `last` is the loss of the last batch now, and `first` that of the first.
    pub fn save(
        &self,
        trainer: &mut Trainer,
        [first, last]: [f64; 2],
        loss: Option<&f64>,
        state: bool,
    ) -> Result<()> {
        if loss.is_some() && trainer.rejected() == trainer.steps() {
            return Err(Error::Weights(format!(
                "training changed nothing: the gradients of all steps were no numbers or exploded; use a lower --lr or \
                 --clip. What {} held stays",
                self.output.display()
            )));
        }
        if let Some(start) = self.start {
            let judged = start.check(
                trainer.settings().loss,
                trainer.weights_norm()?,
                [first, last],
            );
            judged.map_err(|e| {
                let stays = self.output.display();
                Error::Weights(format!(
                    "{e}; use a lower --lr or --clip. What {stays} held stays"
                ))
            })?;
        }
        let mut lineage = BTreeMap::new();
        let mut say = |key: &str, value: String| lineage.insert(format!("cascadia.{key}"), value);
        say("parent", trainer.model().name());
        say("data", self.course.data.display().to_string());
        say("steps", trainer.steps().to_string());
        say("settings", format!("{:?}", trainer.settings()));
        if let Some(loss) = loss {
            say("loss", loss.to_string());
        }
        if !state {
            return trainer.save(self.output, &lineage);
        }
        let mut said = self.said.clone();
        said.insert(START_NORM.into(), self.norm.to_string());
        said.insert(
            START_LOSS.into(),
            self.start.map_or(f64::NAN, |s| s.loss).to_string(),
        );
        trainer.save_with_state(self.output, &lineage, (&self.output.join(STATE), &said))
    }

    /// Removes what another training left to go on from.
    pub fn forget(&self) -> Result<()> {
        let state = self.output.join(STATE);
        match state.exists() {
            true => std::fs::remove_file(&state).map_err(Error::io(&state)),
            false => Ok(()),
        }
    }
}

/// The norm and the loss that the training in `state` began with; refuses it where it is another one than `said`, of weights of norm `norm`.
fn same(
    state: &Path,
    said: &BTreeMap<String, String>,
    trainer: &Trainer,
    norm: f64,
) -> Result<[f64; 2]> {
    let file = Checkpoint::open(state)?;
    let none = |key: &str| {
        Error::file(
            state,
            format!("says no `{key}`: it is not a training's state"),
        )
    };
    for (flag, now) in said {
        let before = file.metadata().get(flag).ok_or_else(|| none(flag))?;
        if before != now {
            return Err(Error::file(
                state,
                format!(
                    "is of a training with {flag} {before}, not {now}: go on as that began, or begin anew without --resume"
                ),
            ));
        }
    }
    let number = |key: &str| -> Result<f64> {
        let number = file.metadata().get(key).and_then(|text| text.parse().ok());
        number.ok_or_else(|| none(key))
    };
    let start = number(START_NORM)?;
    // Additions are saved without what they are added to.
    if trainer.settings().low_rank.is_some() && start != norm {
        return Err(Error::file(
            state,
            format!(
                "holds additions to weights of norm {start}, and those of {} have {norm}: go on from the model that they \
                 were made for",
                trainer.model().name()
            ),
        ));
    }
    Ok([start, number(START_LOSS)?])
}

/// What a file or a folder is known by: its name, its bytes, and a hash of them.
pub fn known(path: &Path) -> Result<String> {
    let files: Vec<PathBuf> = match path.is_dir() {
        true => folder::files(path)?,
        false => vec![path.to_path_buf()],
    };
    let (mut bytes, mut hash) = (0u64, 0u64);
    let mut buffer = Vec::new();
    for path in &files {
        let mut file = std::fs::File::open(path).map_err(Error::io(path))?;
        loop {
            buffer.clear();
            let part = file.by_ref().take(1 << 20);
            let n = { part }.read_to_end(&mut buffer).map_err(Error::io(path))?;
            if n == 0 {
                break;
            }
            bytes += n as u64;
            for part in buffer.chunks(8) {
                let mut word = [0; 8];
                word[..part.len()].copy_from_slice(part);
                hash = mixed(hash ^ u64::from_le_bytes(word));
            }
        }
        // Where one file ends is of the data.
        hash = mixed(hash ^ bytes);
    }
    Ok(format!("{} of {bytes} bytes ({hash:016x})", last(path)))
}

/// What a model is known by: its name, and a hash of its configuration.
pub fn model(name: &str, config: &Config) -> String {
    let config = format!("{config:?}");
    let hash = (config.bytes()).fold(0, |hash, byte| mixed(hash ^ u64::from(byte)));
    format!("{} ({hash:016x})", last(Path::new(name)))
}

/// The last part of a path: so folders may be moved.
fn last(path: &Path) -> String {
    let whole = || path.display().to_string();
    (path.file_name()).map_or_else(whole, |name| name.to_string_lossy().into_owned())
}
