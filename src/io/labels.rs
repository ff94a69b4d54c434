//! What the classes of a classifier are called.
//!
//! The ImageNet names in `assets/imagenet_classes.txt` are torchvision's `_IMAGENET_CATEGORIES` (torchvision 0.29,
//! `torchvision/models/_meta.py`), under the BSD 3-clause licence in `assets/imagenet_classes.LICENSE`. The WordNet
//! ids of the same classes in `assets/imagenet_synsets.txt` are timm 1.0.31's `timm/data/_info/imagenet_synsets.txt`,
//! under the Apache 2.0 licence in `assets/imagenet_synsets.LICENSE`.

use crate::error::{Error, Result};
use std::borrow::Cow;
use std::sync::LazyLock;

/// The key of a checkpoint's metadata that holds its class names, as a JSON array of strings.
pub const METADATA_KEY: &str = "labels";

static IMAGENET: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let text = include_str!("../../assets/imagenet_classes.txt");
    text.lines().collect()
});

/// The names of the 1,000 classes of ImageNet-1k, in the order of the public checkpoints.
pub fn imagenet() -> &'static [&'static str] {
    &IMAGENET
}

/// The class of ImageNet-1k that WordNet numbers `id`, as in `n01440764`.
pub fn synset(id: &str) -> Option<usize> {
    // Sorted: ImageNet's classes are in the order of their synsets.
    static SYNSETS: LazyLock<Vec<&str>> = LazyLock::new(|| {
        let text = include_str!("../../assets/imagenet_synsets.txt");
        text.lines().collect()
    });
    SYNSETS.binary_search(&id).ok()
}

/// The names of a classifier's classes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    names: Vec<Cow<'static, str>>,
}

impl Labels {
    /// The names of ImageNet-1k.
    pub fn imagenet() -> Self {
        Self {
            names: imagenet().iter().map(|&n| Cow::Borrowed(n)).collect(),
        }
    }

    /// The names in `json`, an array of strings: what a checkpoint's metadata holds under [`METADATA_KEY`].
    ///
    /// # Errors
    /// [`Error::Weights`] where `json` is anything else.
    pub fn from_metadata(json: &str) -> Result<Self> {
        let names: Vec<String> = serde_json::from_str(json).map_err(|e| {
            Error::Weights(format!(
                "metadata `{METADATA_KEY}` should be a JSON array of strings: {e}"
            ))
        })?;
        Ok(Self {
            names: names.into_iter().map(Cow::Owned).collect(),
        })
    }

    /// The names of a model with `classes` classes of which nothing else is known: ImageNet's where there are 1,000 of
    /// them, otherwise numbers.
    pub fn for_classes(classes: usize) -> Self {
        if classes == imagenet().len() {
            Self::imagenet()
        } else {
            Self::default()
        }
    }

    /// The number of names.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether every class goes by its number.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// What class `i` is called: `class i` where it has no name.
    pub fn name(&self, i: usize) -> Cow<'_, str> {
        match self.names.get(i) {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(format!("class {i}")),
        }
    }

    /// The class called `name`, as a folder of a data set may be.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| n == name)
    }
}
