//! Distillation of T5 against torch in float64: losses, gradients, and what three steps of AdamW make of small models,
//! one with a tied head and ReLU, one with a head of its own and gated GELU.

use cascadia::device::Device;
use cascadia::engine::distill::{
    Author, Batch, Distributions, Loss, Prompts, Settings, Texts, Trainer,
};
use cascadia::engine::language::{Language, Scorer};
use cascadia::plan::Options;
use cascadia::tensor::DType;
use kernels_tests::distill::{Steps, compare, devices, loss, one, published, settings, softmax};
use kernels_tests::language::references;
use kernels_tests::weights::token_ids;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Deserialize)]
struct Expected {
    lengths: Vec<u32>,
    positions: Vec<Vec<u32>>,
    jsd_beta: f32,
    drafts: BTreeMap<String, BTreeMap<String, Steps>>,
}

fn expected() -> Expected {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("references/distill_t5_seed0.json");
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A model of the references; FLAN-T5 with an output projection of its own, as published.
fn open(name: &str, device: &Device) -> Arc<Language> {
    let mut all = references(0);
    let reference = all.get_mut(name).unwrap_or_else(|| panic!("{name}"));
    if name == "flan_t5_gated" {
        let tensors = &mut reference.tensors;
        tensors.insert("lm_head.weight".into(), vec![512, 64]);
    }
    reference.open(name, 0, device, &Options::new(DType::F32))
}

/// Two prompts, two answers behind the decoder's first token, and the target's distributions at rows of the answers.
/// Padding holds tokens of its own.
fn taught(expected: &Expected, target: &Arc<Language>) -> Batch {
    let ids = |n: usize, seed: u32| -> Vec<u32> {
        let all = token_ids(2, n, 512, seed);
        all.into_iter().map(|t| t as u32).collect()
    };
    let mut batch = Batch {
        len: 13,
        prompts: Prompts {
            len: 29,
            tokens: ids(29, 0),
            lengths: expected.lengths.clone(),
        },
        ..Batch::default()
    };
    let mut scorer = Scorer::new(target, 64).unwrap_or_else(|e| panic!("{e}"));
    for (s, answer) in ids(12, 1).chunks(12).enumerate() {
        let tokens = [&[0], answer].concat();
        let prompt = &batch.prompts.tokens[s * 29..][..expected.lengths[s] as usize];
        scorer.encode(prompt).unwrap_or_else(|e| panic!("{e}"));
        let logits = scorer.logits(&tokens).unwrap_or_else(|e| panic!("{e}"));
        for &at in &expected.positions[s] {
            batch.rows.push(13 * s as u32 + at);
            let row = &logits.to_f32()[512 * at as usize..][..512];
            batch.probs.extend(softmax(row));
        }
        batch.tokens.extend(tokens);
    }
    batch
}

fn new(draft: &Arc<Language>, settings: Settings) -> Trainer {
    Trainer::new(draft, settings).unwrap_or_else(|e| panic!("{e}"))
}

fn step(trainer: &mut Trainer, batch: &Batch) -> f64 {
    let step = trainer.step(std::slice::from_ref(batch));
    let step = step.unwrap_or_else(|e| panic!("{e}"));
    assert!(step.applied);
    step.loss
}

#[test]
fn three_steps_are_those_of_torch() {
    let expected = expected();
    for device in devices() {
        for (draft, target) in [("t5_relu", "flan_t5_gated"), ("flan_t5_gated", "t5_relu")] {
            let batch = taught(&expected, &open(target, &device));
            let model = open(draft, &device);
            for (name, steps) in &expected.drafts[draft] {
                let mut trainer = new(&model, settings(loss(name, expected.jsd_beta)));
                let (_, grads) = trainer.gradients(&batch).unwrap_or_else(|e| panic!("{e}"));
                let of = trainer.weights().unwrap_or_else(|e| panic!("{e}"));
                let grads = of.into_iter().zip(grads).map(|((w, _), g)| (w, g));
                let of_grads = compare(&published(grads.collect()), &steps.grads_step0);
                let mut of_losses = 0.0f64;
                for &expected in &steps.losses {
                    let loss = step(&mut trainer, &batch);
                    of_losses = of_losses.max((loss - expected).abs() / expected);
                }
                let params = trainer.weights().unwrap_or_else(|e| panic!("{e}"));
                let of_params = compare(&published(params), &steps.params_after_3);
                println!(
                    "{} {draft} {name}: losses {of_losses:.1e}, gradients {of_grads:.1e}, parameters {of_params:.1e}",
                    device.name()
                );
                assert!(
                    of_losses < 1e-4,
                    "{draft} {name}: losses are off by {of_losses:.1e}"
                );
            }
        }
    }
}

#[test]
fn padding_teaches_nothing_and_layers_computed_again_are_the_same() {
    let (device, expected) = (one(), expected());
    let batch = taught(&expected, &open("t5_relu", &device));
    let mut other = batch.clone();
    for (s, &length) in expected.lengths.iter().enumerate() {
        let of_prompt = &mut other.prompts.tokens[s * 29..(s + 1) * 29];
        of_prompt[length as usize..].fill(7);
    }
    assert_ne!(batch, other);
    let model = open("flan_t5_gated", &device);
    let run = |batch: &Batch, recompute| {
        let settings = Settings {
            recompute,
            ..settings(Loss::ForwardKl)
        };
        let mut trainer = new(&model, settings);
        let losses = [0; 2].map(|_| step(&mut trainer, batch));
        let weights = trainer.export().unwrap_or_else(|e| panic!("{e}"));
        (losses, weights, trainer.working_bytes())
    };
    let (first, padded, again) = (run(&batch, false), run(&other, false), run(&batch, true));
    assert_eq!(first.0, padded.0);
    assert_eq!(first.0, again.0);
    for ((name, a), (_, b)) in first.1.iter().zip(&again.1) {
        assert_eq!(a, b, "{name}");
    }
    for ((name, a), (_, b)) in first.1.iter().zip(&padded.1) {
        // What fills the padding has weights that decay alone.
        assert!(a == b || name == "shared.weight", "{name}");
    }
    println!(
        "{} bytes kept, {} with layers computed again",
        first.2, again.2
    );
    assert!(again.2 < first.2, "{} {}", again.2, first.2);
}

#[test]
fn what_is_trained_is_what_is_served() {
    let (device, expected) = (one(), expected());
    let batch = taught(&expected, &open("flan_t5_gated", &device));
    for (draft, low_rank) in [("t5_relu", None), ("flan_t5_gated", Some(3))] {
        let model = open(draft, &device);
        let light = Settings {
            low_rank,
            lr: 1e-2,
            ..settings(Loss::Jsd { beta: 0.3 })
        };
        let mut trainer = new(&model, light);
        let before = trainer.export().unwrap_or_else(|e| panic!("{e}"));
        if draft == "t5_relu" {
            // Nothing but the checkpoint's tensors, as they are there.
            let files = model.files().unwrap_or_else(|| panic!("files"));
            let names: Vec<&str> = before.iter().map(|t| t.0.as_str()).collect();
            let mut known: Vec<&str> = files.weights.names().into_iter().collect();
            known.sort_unstable();
            assert_eq!(names, known);
            for (name, tensor) in &before {
                let known = files.weights.values(name).unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(tensor.to_f32(), known.to_f32(), "{name}");
            }
        }
        let losses = [0; 4].map(|_| step(&mut trainer, &batch));
        if draft == "t5_relu" {
            assert!(losses[3] < losses[0], "{losses:?}");
        }
        let after = trainer.export().unwrap_or_else(|e| panic!("{e}"));
        for ((name, a), (_, b)) in before.iter().zip(&after) {
            let projection = name.contains("Attention.") || name.contains("Dense");
            let changes = low_rank.is_none() || projection && !name.contains("bias");
            assert_eq!(a != b, changes, "{name}");
        }
        // The share of proposals that would be accepted, by the trainer and by what serves.
        let overlap = trainer.overlap(&batch).unwrap_or_else(|e| panic!("{e}"));
        let student = trainer.student().unwrap_or_else(|e| panic!("{e}"));
        let mut scorer = Scorer::new(&student, 64).unwrap_or_else(|e| panic!("{e}"));
        let mut by_hand = 0.0;
        for (i, (&row, p)) in batch.rows.iter().zip(batch.probs.chunks(512)).enumerate() {
            let (s, at) = (row as usize / 13, row as usize % 13);
            if i % 4 == 0 {
                let prompt = &batch.prompts.tokens[s * 29..][..expected.lengths[s] as usize];
                scorer.encode(prompt).unwrap_or_else(|e| panic!("{e}"));
            }
            let logits = scorer.logits(&batch.tokens[s * 13..][..at + 1]);
            let logits = logits.unwrap_or_else(|e| panic!("{e}")).to_f32();
            let q = softmax(&logits[at * 512..]);
            by_hand += p
                .iter()
                .zip(q)
                .map(|(p, q)| f64::from(p.min(q)))
                .sum::<f64>()
                / 8.0;
        }
        assert!((overlap - by_hand).abs() < 1e-5, "{overlap} {by_hand}");
    }
}

#[test]
fn texts_are_read_by_the_encoder_and_answers_are_taught() {
    let device = one();
    let target = open("t5_relu", &device);
    let fails = |e: cascadia::Error| -> ! { panic!("{e}") };
    let mut texts = Texts::new(&target, 8, 1.0).unwrap_or_else(|e| fails(e));
    let tokens: Vec<u32> = (10..30).collect();
    // A prompt that is too long keeps its last token; an answer its first.
    texts.push_answered(&tokens[..12], &tokens[12..15]);
    texts.push_answered(&tokens[..3], &tokens[3..]);
    // 15 tokens, then 5.
    texts.push_text(&tokens);
    texts.push_prompt(&tokens[..4]);
    assert_eq!(texts.sequences(), 5);
    let batch = texts
        .batch(0..4, Distributions::Host)
        .unwrap_or_else(|e| fails(e));
    batch.check(512, false).unwrap_or_else(|e| fails(e));
    assert_eq!(batch.prompts.lengths, [8, 3, 8, 3]);
    assert_eq!(batch.prompts.tokens[..8], [10, 11, 12, 13, 14, 15, 16, 21]);
    assert_eq!(batch.tokens[..8], [0, 22, 23, 24, 0, 0, 0, 0]);
    assert_eq!(batch.tokens[8..16], [0, 13, 14, 15, 16, 17, 18, 19]);
    assert_eq!(batch.tokens[16..24], [0, 18, 19, 20, 21, 22, 23, 24]);
    assert_eq!(batch.prompts.tokens[24..], [25, 26, 27, 0, 0, 0, 0, 0]);
    let rows: Vec<u32> = [0..3, 8..15, 16..23, 24..26]
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(batch.rows, rows);
    let labels = batch.labels.as_deref().unwrap_or_default();
    assert_eq!(labels[..4], [22, 23, 24, 13]);
    // What the target says of the second, asked alone.
    let mut scorer = Scorer::new(&target, 8).unwrap_or_else(|e| fails(e));
    scorer.encode(&tokens[..3]).unwrap_or_else(|e| fails(e));
    let logits = (scorer.logits(&batch.tokens[8..16])).unwrap_or_else(|e| fails(e));
    for (a, b) in batch.probs[3 * 512..4 * 512]
        .iter()
        .zip(softmax(&logits.to_f32()[..512]))
    {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
    let mut author = Author::new(&target, 8, 1.0, 3).unwrap_or_else(|e| fails(e));
    let written = texts
        .batch_by([4], &mut author, 1, Distributions::None)
        .unwrap_or_else(|e| fails(e));
    assert_eq!(written.rows, [0, 1, 2]);
    assert_eq!((written.prompts.lengths[0], written.tokens[0]), (4, 0));
    texts
        .push_by(&tokens, &mut author, 2)
        .unwrap_or_else(|e| fails(e));
    assert_eq!(texts.sequences(), 6);
    // Without prompts it cannot be trained by them, and no other model can with them.
    let bare = Batch {
        prompts: Prompts::default(),
        ..batch.clone()
    };
    let refused = new(&target, settings(Loss::ForwardKl)).step(&[bare]);
    let says = refused.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(says.contains("without prompts"), "{says}");
}
