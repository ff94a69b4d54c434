//! What a checkpoint's metadata says of its pictures and its classes.

use crate::error::{Error, Result};
use crate::io::Checkpoint;
use crate::io::labels::{self, Labels};
use crate::io::preprocess::{Interpolation, Preprocess};
use crate::models::efficientvit::Config;

/// How pictures are prepared for a model and what its classes are called; the usual where the metadata does not say.
pub(super) struct Described {
    /// Height and width of the input.
    pub size: [usize; 2],
    pub preprocess: Preprocess,
    pub labels: Labels,
}

impl Described {
    /// What the metadata of `checkpoint` says, whose tensors are those of `config`.
    ///
    /// # Errors
    /// [`Error::File`], one line, where it is not to be read, contradicts the tensors, or asks for what is not done.
    pub fn read(checkpoint: &Checkpoint, config: &Config) -> Result<Self> {
        let refuse = |message: String| Error::file(checkpoint.path(), message);
        let size = match parse::<usize>(checkpoint, "input_size")? {
            Some(side) => [side, side],
            None => [224, 224],
        };
        let sized = Config {
            size,
            ..config.clone()
        };
        sized
            .windows()
            .map_err(|e| refuse(format!("metadata `input_size`: {e}")))?;
        let mut preprocess = Preprocess::imagenet((size[0], size[1]));
        if let Some(crop) = parse(checkpoint, "crop_pct")? {
            preprocess.crop = crop;
        }
        if !(0.1..=1.0).contains(&preprocess.crop) {
            return Err(refuse(format!(
                "metadata `crop_pct` says to keep {} of a picture; expected 0.1 to 1",
                preprocess.crop
            )));
        }
        match checkpoint
            .metadata()
            .get("interpolation")
            .map(String::as_str)
        {
            None | Some("bicubic") => {}
            Some("bilinear") => preprocess.interpolation = Interpolation::Bilinear,
            Some(other) => {
                return Err(refuse(format!(
                    "metadata `interpolation` is {other:?}; expected bicubic or bilinear"
                )));
            }
        }
        preprocess.mean = parse(checkpoint, "mean")?.unwrap_or(preprocess.mean);
        preprocess.std = parse(checkpoint, "std")?.unwrap_or(preprocess.std);
        let sound = |v: &f32| v.is_finite() && *v != 0.0;
        if !preprocess.mean.iter().all(|v| v.is_finite()) || !preprocess.std.iter().all(sound) {
            return Err(refuse(format!(
                "metadata `mean` {:?} and `std` {:?} cannot normalise pictures",
                preprocess.mean, preprocess.std
            )));
        }
        let labels = match checkpoint.metadata().get(labels::METADATA_KEY) {
            Some(text) => Labels::from_metadata(text).map_err(|e| refuse(e.to_string()))?,
            None => Labels::for_classes(config.classes),
        };
        if !labels.is_empty() && labels.len() != config.classes {
            return Err(refuse(format!(
                "metadata `{}` names {} classes, and the model has {}",
                labels::METADATA_KEY,
                labels.len(),
                config.classes
            )));
        }
        Ok(Self {
            size,
            preprocess,
            labels,
        })
    }
}

/// The metadata under `key`, as JSON.
fn parse<T: serde::de::DeserializeOwned>(checkpoint: &Checkpoint, key: &str) -> Result<Option<T>> {
    let Some(text) = checkpoint.metadata().get(key) else {
        return Ok(None);
    };
    let read = serde_json::from_str(text).map(Some);
    read.map_err(|e| {
        Error::file(
            checkpoint.path(),
            format!("metadata `{key}` is {text:?}: {e}"),
        )
    })
}
