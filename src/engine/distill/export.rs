//! A trained draft as a folder like the one that it came from.

use super::copies::copies;
use super::parts::Timed;
use super::plan::moment;
use super::standing::{Place, Standing, marked_name};
use super::trainer::Trainer;
use crate::device::Store;
use crate::engine::language::Language;
use crate::error::{Error, Result};
use crate::graph::Weight;
use crate::io::{Checkpoint, LanguageFiles, Parts, save, serialize, write_atomically};
use crate::models::language::Addition;
use crate::plan::Options;
use crate::tensor::{DType, Tensor};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

impl Trainer {
    /// The values of each weight with what was added to it, as the model has them.
    ///
    /// # Errors
    /// What reading returns.
    pub fn weights(&self) -> Result<Vec<(Weight, Vec<f32>)>> {
        let layers = self.model().layers();
        let read = |w: &Weight| Ok::<_, Error>(self.store.read(&w.name)?.to_f32());
        let mut all = (layers.weights().into_iter())
            .map(|w| Ok((w.clone(), read(w)?)))
            .collect::<Result<Vec<_>>>()?;
        let rank = self.settings().low_rank;
        for Addition { to, a, b } in rank.map_or(Vec::new(), |rank| layers.additions(rank)) {
            if let Some((_, values)) = all.iter_mut().find(|known| known.0.name == to.name) {
                let sizes = [a.shape[0], a.shape[1]];
                add_product(values, &read(&b)?, &read(&a)?, sizes);
            }
        }
        Ok(all)
    }

    /// Its tensors by their published names, in f32.
    ///
    /// # Errors
    /// What reading returns.
    pub fn export(&self) -> Result<Vec<(String, Tensor)>> {
        let mut out = Vec::new();
        for (weight, values) in self.weights()? {
            let published = weight.published(&values)?;
            for (source, values) in weight.sources.iter().zip(published) {
                let tensor = Tensor::from_f32(&source.shape, &values)?;
                out.push((source.name.clone(), tensor));
            }
        }
        out.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(out)
    }

    fn files(&self) -> Result<&LanguageFiles> {
        let files = self.model().files();
        files.ok_or_else(|| Error::Usage("a model of noise has no files to be like".into()))
    }

    /// The draft as it is now, to be run: a copy that later steps do not change.
    ///
    /// # Errors
    /// As [`Trainer::export`] and [`Language::open`].
    pub fn student(&self) -> Result<Arc<Language>> {
        let config = self.files()?.config.to_string();
        let name = self.model().name();
        let parts = Parts {
            name: &name,
            weights: serialize(Path::new(&name), &self.export()?, None)?,
            config: Some(&config),
            tokenizer: None,
            tokenizer_config: None,
        };
        let files = Arc::new(LanguageFiles::from_parts(parts)?);
        let options = Options::new(DType::F32);
        Language::open(self.model().device(), files, &options).map(Arc::new)
    }

    /// Writes the draft into `folder`, which is made where it is not there: config.json and the tokenizer's files as
    /// the draft has them, then model.safetensors with `lineage` as its metadata. Each file is written whole or not at
    /// all, the weights last.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::File`] where the operating system refuses; what was there stays then.
    pub fn save(&self, folder: &Path, lineage: &BTreeMap<String, String>) -> Result<()> {
        let files = self.files()?;
        let tensors = self.export()?;
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        for (name, bytes) in files.companions()? {
            write_atomically(&folder.join(name), |file| file.write_all(&bytes))?;
        }
        let mut metadata = lineage.clone();
        metadata.insert("format".into(), "pt".into());
        save(&folder.join("model.safetensors"), &tensors, Some(&metadata))
    }
}

impl Trainer {
    /// Writes all that a later [`Trainer::resume`] goes on from as a safetensors file: weights, moments, and the count
    /// of steps. Whole or not at all.
    ///
    /// # Errors
    /// As [`Trainer::save`].
    pub fn suspend(&self, path: &Path) -> Result<()> {
        let mut tensors = vec![("control".to_string(), self.store.read("control")?)];
        for name in self.kept() {
            tensors.push((name.clone(), self.store.read(&name)?));
        }
        let mut metadata = BTreeMap::new();
        metadata.insert("steps".to_string(), self.steps.to_string());
        metadata.insert("rejected".into(), self.rejected.to_string());
        metadata.insert("norm".into(), self.norm.unwrap_or(0.0).to_string());
        save(path, &tensors, Some(&metadata))
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
        Ok(())
    }

    /// Takes note of weights and moments, to come [`Trainer::back`] to; on the device.
    ///
    /// # Errors
    /// What making memory returns.
    pub fn mark(&mut self) -> Result<()> {
        self.begin_mark()?;
        self.outcome().map(drop)
    }

    /// As [`Trainer::mark`], in parts: it is done when all of them are.
    ///
    /// # Errors
    /// As [`Trainer::mark`].
    pub fn begin_mark(&mut self) -> Result<()> {
        self.wake()?;
        let what = self.copies(false)?;
        self.begin(what);
        self.marked = Some((self.steps, self.norm));
        Ok(())
    }

    /// Sets weights and moments back to what they were when [`Trainer::mark`] was called last.
    ///
    /// # Errors
    /// [`Error::Usage`] where it never was.
    pub fn back(&mut self) -> Result<()> {
        self.begin_back()?;
        self.outcome().map(drop)
    }

    /// As [`Trainer::back`], in parts.
    ///
    /// # Errors
    /// As [`Trainer::back`].
    pub fn begin_back(&mut self) -> Result<()> {
        let Some((steps, norm)) = self.marked else {
            return Err(Error::Usage("nothing was marked to come back to".into()));
        };
        let what = self.copies(true)?;
        self.begin(what);
        (self.steps, self.norm) = (steps, norm);
        Ok(())
    }

    /// Ends what [`Trainer::begin_mark`] or [`Trainer::begin_back`] began.
    ///
    /// # Errors
    /// What running returns.
    pub fn end_copies(&mut self) -> Result<()> {
        self.outcome().map(drop)
    }

    fn copies(&mut self, back: bool) -> Result<Arc<Timed>> {
        let at = usize::from(back);
        if let Some(known) = &self.copies[at] {
            return Ok(known.clone());
        }
        let pair = |name: String| {
            let marked = marked_name(&name);
            if back { [marked, name] } else { [name, marked] }
        };
        let pairs: Vec<[String; 2]> = self.all().into_iter().map(pair).collect();
        let made = copies(&self.store, self.model().device().caps(), &pairs)?;
        self.copies[at] = Some(made.clone());
        Ok(made)
    }

    /// The weights that stand, for a model that serves them: where `tried`, those that were marked.
    pub fn standing(&self, tried: bool) -> Arc<Standing> {
        if self.parked.is_none() {
            self.standing.at(Place::Device {
                store: self.store.clone(),
                marked: tried,
            });
        }
        self.standing.clone()
    }

    /// The states of all weights under their names, where they are trained themselves.
    pub fn states(&self) -> Option<&Store> {
        let whole = self.settings().low_rank.is_none() && self.parked.is_none();
        whole.then_some(&self.store)
    }

    pub(super) fn all(&self) -> Vec<String> {
        let mut all = self.kept();
        all.push("control".into());
        all
    }

    /// The states that a resumed training needs.
    fn kept(&self) -> Vec<String> {
        let keeps = self.settings().optimizer.keeps();
        let names = self.trained.iter().flat_map(|weight| {
            let name = weight.name.clone();
            let moments = keeps.iter().map(|of| moment(of, &name)).collect::<Vec<_>>();
            std::iter::once(name).chain(moments)
        });
        names.collect()
    }
}

/// Adds b [out, rank] · a [rank, depth] to `values` [out, depth].
fn add_product(values: &mut [f32], b: &[f32], a: &[f32], [rank, depth]: [usize; 2]) {
    for (row, b) in values.chunks_mut(depth).zip(b.chunks(rank)) {
        for (a, &share) in a.chunks(depth).zip(b) {
            row.iter_mut().zip(a).for_each(|(v, a)| *v += share * a);
        }
    }
}
