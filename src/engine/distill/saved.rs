//! A draft in training as files: a model's folder, and what a later training goes on from.

use super::trainer::Trainer;
use crate::engine::language::Language;
use crate::error::{Error, Result};
use crate::io::{Checkpoint, LanguageFiles, Staged, serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// The file of a draft's weights in its folder.
pub const WEIGHTS: &str = "model.safetensors";
/// The index of weights in several files, as publishers write it.
const INDEX: &str = "model.safetensors.index.json";

/// What a file's metadata say.
type Said = BTreeMap<String, String>;

/// Whether `folder` holds a model.
pub fn holds(folder: &Path) -> bool {
    [WEIGHTS, INDEX].iter().any(|f| folder.join(f).exists())
}

/// The draft in `folder`, to be run as `like` is.
///
/// # Errors
/// [`Error::File`] where it is of another shape than `like`, or none.
pub fn alike(like: &Language, folder: &Path) -> Result<Language> {
    let files = Arc::new(LanguageFiles::open(folder)?);
    let draft = Language::open(like.device(), files, like.options())?;
    let vocab = |model: &Language| model.config().vocab();
    if draft.sources()? == like.sources()? && vocab(&draft) == vocab(like) {
        return Ok(draft);
    }
    Err(Error::file(
        folder,
        format!(
            "holds a draft of another shape ({} parameters, vocabulary {}) than the one given ({} and {}); name \
             another folder to save to",
            draft.parameters()?,
            vocab(&draft),
            like.parameters()?,
            vocab(like)
        ),
    ))
}

impl Trainer {
    /// Writes the draft into `folder`, which is made where it is not there: config.json and the tokenizer's files as
    /// the draft has them, and model.safetensors with `lineage` as its metadata. All of them are written before any is
    /// put in its place, the weights last.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::File`] where the operating system refuses; what was there stays then.
    pub fn save(&self, folder: &Path, lineage: &Said) -> Result<()> {
        let staged = self.stage(folder, lineage)?;
        staged.into_iter().try_for_each(Staged::put)
    }

    /// As [`Trainer::save`], with the file that [`Trainer::suspend`] writes at `state`: all of it or nothing.
    ///
    /// # Errors
    /// As [`Trainer::save`].
    pub fn save_with_state(
        &self,
        folder: &Path,
        lineage: &Said,
        (state, said): (&Path, &Said),
    ) -> Result<()> {
        let mut staged = self.stage(folder, lineage)?;
        staged.push(self.stage_state(state, said)?);
        staged.into_iter().try_for_each(Staged::put)
    }

    fn stage(&self, folder: &Path, lineage: &Said) -> Result<Vec<Staged>> {
        let files = self.files()?;
        let tensors = self.export()?;
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let mut staged = Vec::new();
        for (name, bytes) in files.companions()? {
            let bytes = match name {
                "config.json" => in_f32(bytes),
                _ => bytes,
            };
            staged.push(Staged::new(&folder.join(name), |f| f.write_all(&bytes))?);
        }
        let mut metadata = lineage.clone();
        metadata.insert("format".into(), "pt".into());
        let path = folder.join(WEIGHTS);
        let bytes = serialize(&path, &tensors, Some(&metadata))?;
        staged.push(Staged::new(&path, |f| f.write_all(&bytes))?);
        Ok(staged)
    }

    /// Writes all that a later [`Trainer::resume`] goes on from as a safetensors file: weights, moments, and the count
    /// of steps, with `said` in its metadata. Whole or not at all.
    ///
    /// # Errors
    /// As [`Trainer::save`].
    pub fn suspend(&self, path: &Path, said: &Said) -> Result<()> {
        self.stage_state(path, said)?.put()
    }

    fn stage_state(&self, path: &Path, said: &Said) -> Result<Staged> {
        let mut tensors = vec![("control".to_string(), self.store.read("control")?)];
        for name in self.kept() {
            tensors.push((name.clone(), self.store.read(&name)?));
        }
        let mut metadata = said.clone();
        metadata.insert("steps".to_string(), self.steps.to_string());
        metadata.insert("rejected".into(), self.rejected.to_string());
        metadata.insert("norm".into(), self.norm.unwrap_or(0.0).to_string());
        metadata.insert("scale".into(), self.loss_scale.to_string());
        let bytes = serialize(path, &tensors, Some(&metadata))?;
        Staged::new(path, |file| file.write_all(&bytes))
    }

    /// Goes on from what [`Trainer::suspend`] wrote of a draft of the same shape under the same optimiser.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Io`] where the file is not that; nothing is changed then.
    pub fn resume(&mut self, path: &Path) -> Result<()> {
        let file = Checkpoint::open(path)?;
        let number = |key: &str| -> Result<f64> {
            let text = file.metadata().get(key);
            let number = text.and_then(|t| t.parse().ok());
            number
                .filter(|n: &f64| n.is_finite() && *n >= 0.0)
                .ok_or_else(|| {
                    Error::file(
                        path,
                        format!("says no `{key}`: it is not a training's state"),
                    )
                })
        };
        let (steps, rejected, norm) = (number("steps")?, number("rejected")?, number("norm")?);
        let mut all = Vec::new();
        for name in std::iter::once("control".to_string()).chain(self.kept()) {
            let values = file.tensor(&name)?.to_f32();
            let have = self.store.read(&name)?.len();
            if values.len() != have {
                return Err(Error::file(
                    path,
                    format!(
                        "`{name}` has {} elements, the draft's has {have}",
                        values.len()
                    ),
                ));
            }
            all.push((name, values));
        }
        for (name, values) in all {
            self.store.write(&name, 0, bytemuck::cast_slice(&values))?;
        }
        (self.steps, self.rejected) = (steps as u64, rejected as u64);
        self.norm = (norm > 0.0).then_some(norm);
        self.loss_scale = number("scale")? as f32;
        // It is a constant of the plans.
        self.plans.clear();
        Ok(())
    }
}

/// A config.json that says of the weights what they are saved as.
fn in_f32(config: Vec<u8>) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(&config) else {
        return config;
    };
    let mut other = false;
    for name in ["torch_dtype", "dtype"] {
        if let Some(said) = value.get_mut(name).filter(|said| *said != "float32") {
            *said = "float32".into();
            other = true;
        }
    }
    match serde_json::to_vec_pretty(&value) {
        Ok(text) if other => text,
        _ => config,
    }
}

#[cfg(test)]
mod tests {
    use super::in_f32;

    #[test]
    fn a_configuration_says_what_weights_are_saved_as() {
        let half = in_f32(br#"{"a": 1, "torch_dtype": "float16"}"#.to_vec());
        let half: serde_json::Value = serde_json::from_slice(&half).unwrap_or_default();
        assert_eq!(half["torch_dtype"], "float32");
        assert_eq!(half["a"], 1);
        for same in [&b"{\"b\":  2}"[..], br#"{"torch_dtype":"float32"}"#] {
            assert_eq!(in_f32(same.to_vec()), same);
        }
    }
}
