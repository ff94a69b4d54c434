//! A trained draft as a folder like the one that it came from.

use super::trainer::Trainer;
use crate::error::{Error, Result};
use crate::io::{save, write_atomically};
use crate::tensor::Tensor;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

impl Trainer {
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

    /// Writes the draft into `folder`, which is made where it is not there: config.json and the tokenizer's files as
    /// the draft has them, then model.safetensors with `lineage` as its metadata. Each file is written whole or not at
    /// all, the weights last.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::File`] where the operating system refuses; what was there stays then.
    pub fn save(&self, folder: &Path, lineage: &BTreeMap<String, String>) -> Result<()> {
        let tensors = self.export()?;
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        for (name, bytes) in self.model().files().companions()? {
            write_atomically(&folder.join(name), |file| file.write_all(&bytes))?;
        }
        let mut metadata = lineage.clone();
        metadata.insert("format".into(), "pt".into());
        save(&folder.join("model.safetensors"), &tensors, Some(&metadata))
    }
}
