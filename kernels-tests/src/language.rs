//! Small language models with weights drawn by rule, and what `references/make_llama.py` says of them.

use crate::weights;
use cascadia::device::Device;
use cascadia::engine::language::Language;
use cascadia::io::{LanguageFiles, Parts};
use cascadia::plan::Options;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// One model of a file.
#[derive(Deserialize)]
pub struct Reference {
    pub config: serde_json::Value,
    /// Names and shapes of its checkpoint.
    pub tensors: BTreeMap<String, Vec<usize>>,
    pub last_logits: Vec<f64>,
    pub all_logits: Figures,
    pub argmax: Option<Vec<u32>>,
    pub greedy24: Option<Vec<u32>>,
    pub greedy16: Option<Vec<u32>>,
}

/// The logits of all positions.
#[derive(Deserialize)]
pub struct Figures {
    pub mean: f64,
    pub std: f64,
    pub l2: f64,
    pub first8: Vec<f64>,
}

/// The references of `seed`, by the models' names.
pub fn references(seed: u32) -> BTreeMap<String, Reference> {
    let name = format!("references/llama_seed{seed}.json");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

impl Reference {
    /// Its checkpoint, in memory.
    pub fn files(&self, name: &str, seed: u32) -> LanguageFiles {
        self.files_as(name, seed, |_, values| values)
    }

    /// Its checkpoint with each tensor's values made others, given its shape.
    pub fn files_as(
        &self,
        name: &str,
        seed: u32,
        change: impl Fn(&[usize], Vec<f32>) -> Vec<f32>,
    ) -> LanguageFiles {
        let drawn: Vec<(String, Vec<usize>, Vec<u8>)> = (self.tensors.iter())
            .map(|(name, shape)| {
                let values = change(shape, weights::tensor(name, shape, seed));
                let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                (name.clone(), shape.clone(), bytes)
            })
            .collect();
        let views = drawn.iter().map(|(name, shape, bytes)| {
            let view =
                safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
            (name.clone(), view.unwrap_or_else(|e| panic!("{name}: {e}")))
        });
        let bytes = safetensors::serialize(views, None).unwrap_or_else(|e| panic!("{name}: {e}"));
        let config = self.config.to_string();
        let parts = Parts {
            name,
            weights: bytes,
            config: Some(&config),
            tokenizer: None,
            tokenizer_config: None,
            generation: None,
        };
        LanguageFiles::from_parts(parts).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// The model on a device.
    pub fn open(&self, name: &str, seed: u32, device: &Device, options: &Options) -> Arc<Language> {
        let files = Arc::new(self.files(name, seed));
        Arc::new(Language::open(device, files, options).unwrap_or_else(|e| panic!("{name}: {e}")))
    }

    /// Whether it has an encoder.
    pub fn encodes(&self) -> bool {
        self.greedy16.is_some()
    }

    /// The ids that it was asked for, and what an encoder read before.
    pub fn tokens(&self, seed: u32) -> (Vec<u32>, Option<Vec<u32>>) {
        let ids = |n, seed| -> Vec<u32> {
            weights::token_ids(1, n, 512, seed)
                .iter()
                .map(|&t| t as u32)
                .collect()
        };
        match self.encodes() {
            false => (ids(33, seed), None),
            true => ([vec![0], ids(12, seed + 1)].concat(), Some(ids(29, seed))),
        }
    }
}
