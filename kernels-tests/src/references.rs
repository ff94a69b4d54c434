//! Outputs of the public implementation for weights drawn by rule, as `references/make_efficientvit.py` wrote
//! them: so that references ship as outputs and not as checkpoints.

use crate::weights;
use cascadia::error::Result;
use cascadia::graph::Source;
use cascadia::models::efficientvit::Config;
use cascadia::tensor::Tensor;
use serde::Deserialize;
use std::path::PathBuf;

/// One model at one size.
#[derive(Deserialize)]
pub struct Reference {
    pub model: String,
    pub num_classes: usize,
    pub seed: u32,
    pub windows: Vec<usize>,
    pub features: Vec<Feature>,
    pub logits: Vec<Vec<f64>>,
    /// [batch, 3, height, width].
    pub input: [usize; 4],
}

/// A map inside the model, [batch, channels, height, width], by some of its numbers.
#[derive(Deserialize)]
pub struct Feature {
    pub name: String,
    pub shape: Vec<usize>,
    pub mean: f64,
    pub std: f64,
    pub l2: f64,
    pub first8: Vec<f64>,
    /// Elements k · n / 64 of the n, in row-major order.
    pub samples: Vec<f64>,
}

impl Reference {
    /// Every reference of EfficientViT whose file's name contains `part`, in order.
    pub fn efficientvit(part: &str) -> Vec<Self> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("references/efficientvit");
        let mut files: Vec<PathBuf> = (std::fs::read_dir(&folder))
            .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
            .filter_map(|f| Some(f.ok()?.path()))
            .filter(|f| f.to_string_lossy().ends_with(".json"))
            .filter(|f| {
                f.file_name()
                    .is_some_and(|n| n.to_string_lossy().contains(part))
            })
            .collect();
        files.sort();
        assert!(!files.is_empty(), "no reference called {part}");
        (files.iter())
            .map(|f| {
                let text = std::fs::read(f).unwrap_or_else(|e| panic!("{}: {e}", f.display()));
                serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", f.display()))
            })
            .collect()
    }

    /// The model's configuration; weights are those of the model at 224.
    pub fn config(&self) -> Config {
        let mut config = Config::named(&self.model).unwrap_or_else(|| panic!("{}", self.model));
        config.classes = self.num_classes;
        config.size = [self.input[2], self.input[3]];
        config
    }

    pub fn images(&self) -> Tensor {
        let [batch, _, h, w] = self.input;
        let values = weights::image_batch(batch, h, w, self.seed);
        Tensor::from_f32(&self.input, &values).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Reads weights drawn by rule.
    pub fn read(&self) -> impl Fn(&Source) -> Result<Vec<f32>> + '_ {
        |source| Ok(weights::tensor(&source.name, &source.shape, self.seed))
    }
}

/// √(Σ (y - truth)² / Σ truth²).
pub fn relative_l2(y: &[f64], truth: &[f64]) -> f64 {
    crate::tolerance::nmse(y, truth).sqrt()
}
