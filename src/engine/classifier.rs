//! Pictures to labels: preprocessing, the model, the best classes.

use super::Vision;
use super::described::Described;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::io::Checkpoint;
use crate::io::labels::Labels;
use crate::io::preprocess::{Picture, Preprocess};
use crate::models::efficientvit::{Outputs, inspect};
use crate::plan::Options;
use crate::tensor::{DType, Tensor};
use std::sync::Arc;

/// A class and how likely the model holds it to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    pub class: usize,
    pub label: String,
    /// Softmax over all classes.
    pub probability: f32,
}

/// A model that classifies pictures.
pub struct Classifier {
    pub vision: Vision,
    pub preprocess: Preprocess,
    pub labels: Labels,
}

impl Classifier {
    /// The model of `checkpoint`, at the input size given or the one it was trained at.
    ///
    /// # Errors
    /// What [`inspect`] and [`Vision::new`] return; [`Error::File`] where the file's own description is not to be
    /// read, or asks for what is not done here.
    pub fn new(
        device: &Device,
        checkpoint: Arc<Checkpoint>,
        size: Option<[usize; 2]>,
        options: &Options,
    ) -> Result<Self> {
        let mut config = inspect(&checkpoint)?;
        let about = Described::read(&checkpoint, &config)?;
        config.size = size.unwrap_or(about.size);
        let mut preprocess = about.preprocess;
        preprocess.size = (config.size[0], config.size[1]);
        let labels = about.labels;
        Ok(Self {
            vision: Vision::new(device, &config, checkpoint, options)?,
            preprocess,
            labels,
        })
    }

    /// For each picture, the `k` most likely classes, best first.
    ///
    /// # Errors
    /// What preprocessing and running return.
    pub fn classify(&mut self, pictures: &[Picture], k: usize) -> Result<Vec<Vec<Prediction>>> {
        let views = (pictures.iter())
            .map(|p| self.preprocess.apply(p))
            .collect::<Result<Vec<_>>>()?;
        self.classify_views(&views, k)
    }

    /// As [`Classifier::classify`], for pictures preprocessed already: f32 [3, height, width] each.
    ///
    /// # Errors
    /// What running returns.
    pub fn classify_views(&mut self, views: &[Tensor], k: usize) -> Result<Vec<Vec<Prediction>>> {
        if views.is_empty() {
            return Ok(Vec::new());
        }
        let outputs = self.vision.run_images(views, Outputs::logits())?;
        let logits = match outputs.into_iter().next() {
            Some((_, logits)) => logits.to_f32(),
            None => return Err(Error::Plan("the model has no output".into())),
        };
        if logits.iter().any(|v| !v.is_finite()) {
            let what = match self.vision.dtype() {
                DType::F32 => "use other weights",
                _ => "use --dtype f32, or other weights",
            };
            return Err(Error::file(
                self.vision.path(),
                format!(
                    "the model's scores are not finite in {}: its numbers leave the range; {what}",
                    self.vision.dtype()
                ),
            ));
        }
        let classes = self.vision.config().classes;
        Ok(logits
            .chunks(classes)
            .map(|row| self.best(row, k))
            .collect())
    }

    /// Loads what running `batch` pictures at once takes, so that the first run is as fast as the next.
    ///
    /// # Errors
    /// What loading returns.
    pub fn warm(&mut self, batch: usize) -> Result<()> {
        self.vision.warm(batch, Outputs::logits())
    }

    fn best(&self, logits: &[f32], k: usize) -> Vec<Prediction> {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&v| f64::from(v - most).exp()).sum();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        (order.into_iter().take(k))
            .map(|class| Prediction {
                class,
                label: self.labels.name(class).to_string(),
                probability: (f64::from(logits[class] - most).exp() / sum) as f32,
            })
            .collect()
    }
}
