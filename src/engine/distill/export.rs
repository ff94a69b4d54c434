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
use crate::io::{LanguageFiles, Parts, serialize};
use crate::models::language::Addition;
use crate::plan::Options;
use crate::tensor::{DType, Tensor};
use std::path::Path;
use std::sync::Arc;

impl Trainer {
    /// The values of each weight with what was added to it, as the model has them.
    ///
    /// # Errors
    /// What reading returns.
    pub fn weights(&self) -> Result<Vec<(Weight, Vec<f32>)>> {
        let mut all = Vec::new();
        self.each(|weight, values| all.push((weight.clone(), values)))?;
        Ok(all)
    }

    /// The norm of all of them together; no finite number where one of them is none.
    ///
    /// # Errors
    /// What reading returns.
    pub fn weights_norm(&self) -> Result<f64> {
        let mut squares = 0.0;
        self.each(|_, values| {
            squares += values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
        })?;
        Ok(squares.sqrt())
    }

    /// Each weight with what was added to it.
    fn each(&self, mut take: impl FnMut(&Weight, Vec<f32>)) -> Result<()> {
        let layers = self.model().layers();
        let read = |w: &Weight| Ok::<_, Error>(self.store.read(&w.name)?.to_f32());
        let rank = self.settings().low_rank;
        let additions = rank.map_or(Vec::new(), |rank| layers.additions(rank));
        for weight in layers.weights() {
            let mut values = read(weight)?;
            for Addition { a, b, .. } in additions.iter().filter(|add| add.to.name == weight.name) {
                let sizes = [a.shape[0], a.shape[1]];
                add_product(&mut values, &read(b)?, &read(a)?, sizes);
            }
            take(weight, values);
        }
        Ok(())
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

    pub(super) fn files(&self) -> Result<&LanguageFiles> {
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
            generation: None,
        };
        let files = Arc::new(LanguageFiles::from_parts(parts)?);
        let options = Options::new(DType::F32);
        Language::open(self.model().device(), files, &options).map(Arc::new)
    }
}

impl Trainer {
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
    pub(super) fn kept(&self) -> Vec<String> {
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
