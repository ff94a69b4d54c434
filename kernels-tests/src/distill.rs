//! A small draft and its target, and what the one learns from the other.

use crate::harness;
use crate::language::references;
use crate::references::relative_l2;
use crate::weights;
use cascadia::device::Device;
use cascadia::engine::distill::{Batch, Loss, Settings};
use cascadia::engine::language::{Language, Scorer};
use cascadia::graph::Weight;
use cascadia::plan::Options;
use cascadia::tensor::DType;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
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
    let probs = (rows.iter()).flat_map(|&row| softmax(&logits[row as usize * 512..][..512]));
    Batch {
        len: pair.tokens.len(),
        tokens: pair.tokens.clone(),
        rows: rows.to_vec(),
        probs: probs.collect(),
        ..Batch::default()
    }
}

/// exp(logits) / Σ exp(logits).
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().fold(f32::MIN, |a, &b| a.max(b));
    let e: Vec<f64> = (logits.iter())
        .map(|&v| f64::from(v - most).exp())
        .collect();
    let sum: f64 = e.iter().sum();
    e.into_iter().map(|v| (v / sum) as f32).collect()
}

/// What three steps of AdamW make of one loss.
#[derive(Deserialize)]
pub struct Steps {
    pub losses: Vec<f64>,
    pub grads_step0: BTreeMap<String, Figures>,
    pub params_after_3: BTreeMap<String, Figures>,
}

/// Of a tensor.
#[derive(Deserialize)]
pub struct Figures {
    l2: f64,
    first4: Vec<f64>,
}

/// A loss by its name in the references.
pub fn loss(name: &str, beta: f32) -> Loss {
    match name {
        "forward_kl" => Loss::ForwardKl,
        "reverse_kl" => Loss::ReverseKl,
        "jsd" => Loss::Jsd { beta },
        other => panic!("{other}"),
    }
}

/// By published names.
pub fn published(all: Vec<(Weight, Vec<f32>)>) -> HashMap<String, Vec<f64>> {
    let mut out = HashMap::new();
    for (weight, values) in all {
        let parts = (weight.published(&values)).unwrap_or_else(|e| panic!("{e}"));
        for (source, part) in weight.sources.iter().zip(parts) {
            out.insert(
                source.name.clone(),
                part.into_iter().map(f64::from).collect(),
            );
        }
    }
    out
}

/// The largest relative error of norms and of first elements, each less than 1e-3.
pub fn compare(found: &HashMap<String, Vec<f64>>, expected: &BTreeMap<String, Figures>) -> f64 {
    assert_eq!(found.len(), expected.len());
    let mut worst = 0.0f64;
    for (name, figures) in expected {
        let values = &found[name];
        let l2 = values.iter().map(|v| v * v).sum::<f64>().sqrt();
        let off = (l2 - figures.l2).abs() / figures.l2;
        let first = relative_l2(&values[..4], &figures.first4);
        assert!(off.is_finite() && first.is_finite(), "{name}");
        assert!(off < 1e-3 && first < 1e-3, "{name}: {off:.1e} {first:.1e}");
        worst = worst.max(off).max(first);
    }
    worst
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
