//! Pictures to labels: preprocessing, the model, the best classes.

use super::Vision;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::io::Checkpoint;
use crate::io::labels::{self, Labels};
use crate::io::preprocess::{Picture, Preprocess};
use crate::models::efficientvit::{Outputs, inspect};
use crate::plan::Options;
use crate::tensor::Tensor;
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
    /// What [`inspect`] and [`Vision::new`] return; [`Error::Weights`] where the file's own description is
    /// not to be read.
    pub fn new(
        device: &Device,
        checkpoint: Arc<Checkpoint>,
        size: Option<[usize; 2]>,
        options: &Options,
    ) -> Result<Self> {
        let mut config = inspect(&checkpoint)?;
        let about = Described::read(&checkpoint)?;
        config.size = size.or(about.size).unwrap_or([224, 224]);
        let mut preprocess = Preprocess::imagenet((config.size[0], config.size[1]));
        preprocess.crop = about.crop.unwrap_or(preprocess.crop);
        preprocess.mean = about.mean.unwrap_or(preprocess.mean);
        preprocess.std = about.std.unwrap_or(preprocess.std);
        let sound = |v: &f32| v.is_finite() && *v != 0.0;
        if !preprocess.mean.iter().all(|v| v.is_finite()) || !preprocess.std.iter().all(sound) {
            return Err(Error::Weights(format!(
                "{}: metadata `mean` {:?} and `std` {:?} cannot normalise pictures",
                checkpoint.path().display(),
                preprocess.mean,
                preprocess.std
            )));
        }
        let labels = match checkpoint.metadata().get(labels::METADATA_KEY) {
            Some(text) => Labels::from_metadata(text)?,
            None => Labels::for_classes(config.classes),
        };
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
            return Err(Error::Usage(format!(
                "the model's scores are not finite in {}: its numbers leave the range; use --dtype f32, or other \
                 weights",
                self.vision.dtype()
            )));
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

/// What a checkpoint's metadata says of its preprocessing.
#[derive(Default)]
struct Described {
    size: Option<[usize; 2]>,
    crop: Option<f64>,
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
}

impl Described {
    fn read(checkpoint: &Checkpoint) -> Result<Self> {
        fn parse<T: serde::de::DeserializeOwned>(c: &Checkpoint, key: &str) -> Result<Option<T>> {
            let Some(text) = c.metadata().get(key) else {
                return Ok(None);
            };
            serde_json::from_str(text).map(Some).map_err(|e| {
                let path = c.path().display();
                Error::Weights(format!("{path}: metadata `{key}` is {text:?}: {e}"))
            })
        }
        Ok(Self {
            size: parse::<usize>(checkpoint, "input_size")?.map(|n| [n, n]),
            crop: parse(checkpoint, "crop_pct")?,
            mean: parse(checkpoint, "mean")?,
            std: parse(checkpoint, "std")?,
        })
    }
}
