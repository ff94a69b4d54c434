//! A small draft and its target, and what the one learns from the other.

use crate::harness;
use crate::language::references;
use crate::weights;
use cascadia::device::Device;
use cascadia::engine::distill::{Batch, Loss, Settings};
use cascadia::engine::language::{Language, Scorer};
use cascadia::plan::Options;
use cascadia::tensor::DType;
use std::sync::Arc;

/// torch's AdamW of the reference.
pub fn settings(loss: Loss) -> Settings {
    Settings {
        loss,
        lr: 1e-3,
        weight_decay: 0.01,
        ..Settings::default()
    }
}

/// Of the references of seed 0.
pub struct Pair {
    pub draft: Arc<Language>,
    pub target: Arc<Language>,
    pub tokens: Vec<u32>,
}

/// `llama_gqa_tied` learns from `llama_mha`.
pub fn pair(device: &Device) -> Pair {
    let (all, options) = (references(0), Options::new(DType::F32));
    let named = |name: &str| -> Arc<Language> { all[name].open(name, 0, device, &options) };
    let ids = weights::token_ids(1, 33, 512, 0);
    Pair {
        draft: named("llama_gqa_tied"),
        target: named("llama_mha"),
        tokens: ids.into_iter().map(|t| t as u32).collect(),
    }
}

/// The rows of softmax(logits of the target).
pub fn taught(pair: &Pair, rows: &[u32]) -> Batch {
    let mut scorer = Scorer::new(&pair.target, 64).unwrap_or_else(|e| panic!("{e}"));
    let logits = (scorer.logits(&pair.tokens)).unwrap_or_else(|e| panic!("{e}"));
    let logits = logits.to_f32();
    let probs = rows.iter().flat_map(|&row| {
        let row = &logits[row as usize * 512..][..512];
        let most = row.iter().fold(f32::MIN, |a, &b| a.max(b));
        let e: Vec<f64> = row.iter().map(|&v| f64::from(v - most).exp()).collect();
        let sum: f64 = e.iter().sum();
        e.into_iter().map(move |v| (v / sum) as f32)
    });
    Batch {
        len: pair.tokens.len(),
        tokens: pair.tokens.clone(),
        rows: rows.to_vec(),
        probs: probs.collect(),
        ..Batch::default()
    }
}

/// Every adapter.
pub fn devices() -> impl Iterator<Item = Device> {
    let all = harness::adapters();
    all.into_iter().map(|a| harness::open(&a, false))
}

/// The first adapter.
pub fn one() -> Device {
    devices().next().unwrap_or_else(|| panic!("an adapter"))
}
