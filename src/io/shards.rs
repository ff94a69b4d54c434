//! A checkpoint in one or several safetensors files, as it is published.

use super::checkpoint::Checkpoint;
use super::header::quote;
use super::json;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use safetensors::Dtype as FileDType;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

pub(super) const WHOLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// Named tensors over one or several safetensors files. Headers are checked when it is opened; a tensor's bytes are
/// read when it is asked for.
pub struct Shards {
    path: PathBuf,
    files: Vec<Checkpoint>,
    /// The file that holds each tensor.
    places: BTreeMap<String, usize>,
}

impl Shards {
    /// Opens a folder with `model.safetensors`, or with `model.safetensors.index.json` and the files that it names;
    /// or one safetensors file.
    ///
    /// # Errors
    /// [`Error::File`] where the folder has neither, the index cannot be read, names files that are not there
    /// (all are named), or names a tensor that its file lacks; and what [`Checkpoint::open`] returns.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return Ok(Self::whole(path, Checkpoint::open(path)?));
        }
        let (whole, index) = (path.join(WHOLE), path.join(INDEX));
        if whole.exists() {
            return Ok(Self::whole(path, Checkpoint::open(&whole)?));
        }
        if !index.exists() {
            let pickles = path.join("pytorch_model.bin").exists()
                || path.join("pytorch_model.bin.index.json").exists();
            let found = if pickles {
                "found PyTorch pickles, which can run code and are not read; convert them to safetensors in Python"
            } else {
                "found neither"
            };
            let message = format!("expected {WHOLE} or {INDEX} in this folder, {found}");
            return Err(Error::file(path, message));
        }
        Self::indexed(path, &index)
    }

    /// The tensors of one checkpoint, such as one in memory.
    pub fn single(checkpoint: Checkpoint) -> Self {
        let path = checkpoint.path().to_path_buf();
        Self::whole(&path, checkpoint)
    }

    fn whole(path: &Path, checkpoint: Checkpoint) -> Self {
        Self {
            path: path.to_path_buf(),
            places: checkpoint.names().map(|n| (n.to_string(), 0)).collect(),
            files: vec![checkpoint],
        }
    }

    fn indexed(folder: &Path, index: &Path) -> Result<Self> {
        let map = index_map(index)?;
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for file in map.values() {
            let next = numbers.len();
            numbers.entry(file).or_insert(next);
        }
        let missing: Vec<String> = (numbers.keys())
            .filter(|f| !folder.join(f).exists())
            .map(|f| quote(f))
            .collect();
        if !missing.is_empty() {
            let shown = missing.iter().take(4).cloned().collect::<Vec<_>>();
            let more = match missing.len() - shown.len() {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            let message = format!(
                "{} of its {} files are missing: {}{more}; fetch them into the folder",
                missing.len(),
                numbers.len(),
                shown.join(", ")
            );
            return Err(Error::file(index, message));
        }
        let mut names: Vec<(&str, usize)> = numbers.iter().map(|(f, n)| (*f, *n)).collect();
        names.sort_by_key(|(_, n)| *n);
        let files = (names.iter())
            .map(|(f, _)| Checkpoint::open(&folder.join(f)))
            .collect::<Result<Vec<_>>>()?;
        let mut places = BTreeMap::new();
        for (name, file) in &map {
            let at = numbers.get(file.as_str()).copied().unwrap_or_default();
            if !files.get(at).is_some_and(|f| f.contains(name)) {
                let message = format!(
                    "places tensor {} in {}, which lacks it",
                    quote(name),
                    quote(file)
                );
                return Err(Error::file(index, message));
            }
            places.insert(name.clone(), at);
        }
        Ok(Self {
            path: folder.to_path_buf(),
            files,
            places,
        })
    }

    /// The folder or file that it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Whether there is a tensor `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// The shape of tensor `name`.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.file(name)?.shape(name)
    }

    /// The element type of tensor `name` in its file.
    pub fn dtype(&self, name: &str) -> Option<FileDType> {
        self.file(name)?.dtype(name)
    }

    /// Reads tensor `name`, of the type that it has in its file (as [`Checkpoint::tensor`]).
    ///
    /// # Errors
    /// [`Error::File`] where there is no such tensor; and as [`Checkpoint::tensor`].
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let Some(file) = self.file(name) else {
            let message = format!(
                "has no tensor {} among its {}",
                quote(name),
                self.places.len()
            );
            return Err(Error::file(&self.path, message));
        };
        file.tensor(name)
    }

    fn file(&self, name: &str) -> Option<&Checkpoint> {
        self.files.get(*self.places.get(name)?)
    }
}

impl std::fmt::Debug for Shards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, tensors) = (self.path.display(), self.places.len());
        write!(
            f,
            "Shards({path}, {} files, {tensors} tensors)",
            self.files.len()
        )
    }
}

/// The file of each tensor, from an index. Each is a plain name, so that an index cannot reach outside its folder.
pub(super) fn index_map(index: &Path) -> Result<BTreeMap<String, String>> {
    let value = json::read(index)?;
    let Some(map) = value.get("weight_map").and_then(|m| m.as_object()) else {
        return Err(Error::file(
            index,
            "expected an object `weight_map`, found none",
        ));
    };
    (map.iter())
        .map(|(name, file)| {
            let plain = |f: &&str| {
                let mut parts = Path::new(f).components();
                matches!(parts.next(), Some(Component::Normal(_))) && parts.next().is_none()
            };
            match file.as_str().filter(plain) {
                Some(file) => Ok((name.clone(), file.to_string())),
                None => {
                    let message = format!(
                        "tensor {} is placed in {}: expected the name of a file beside the index",
                        quote(name),
                        quote(&file.to_string())
                    );
                    Err(Error::file(index, message))
                }
            }
        })
        .collect()
}
