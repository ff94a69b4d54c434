//! Distillation against torch in float64: losses, gradients, and what three steps of AdamW make of a small Llama.

use cascadia::device::Device;
use cascadia::engine::distill::{Batch, Loss, Optimizer, Recorded, Settings, Texts, Trainer};
use cascadia::engine::language::{Language, Scorer};
use cascadia::graph::Weight;
use cascadia::io::{LanguageFiles, save};
use cascadia::plan::Options;
use cascadia::tensor::{DType, Tensor};
use kernels_tests::language::{Reference, references};
use kernels_tests::references::relative_l2;
use kernels_tests::{harness, weights};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Deserialize)]
struct Expected {
    target: String,
    draft: String,
    positions: Vec<u32>,
    jsd_beta: f32,
    steps: BTreeMap<String, Steps>,
}

#[derive(Deserialize)]
struct Steps {
    losses: Vec<f64>,
    grads_step0: BTreeMap<String, Figures>,
    params_after_3: BTreeMap<String, Figures>,
}

#[derive(Deserialize)]
struct Figures {
    l2: f64,
    first4: Vec<f64>,
}

fn expected() -> Expected {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("references/distill_seed0.json");
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn loss(name: &str, beta: f32) -> Loss {
    match name {
        "forward_kl" => Loss::ForwardKl,
        "reverse_kl" => Loss::ReverseKl,
        "jsd" => Loss::Jsd { beta },
        other => panic!("{other}"),
    }
}

/// torch's AdamW of the reference.
fn settings(loss: Loss) -> Settings {
    Settings {
        loss,
        lr: 1e-3,
        weight_decay: 0.01,
        ..Settings::default()
    }
}

struct Pair {
    draft: Arc<Language>,
    target: Arc<Language>,
    tokens: Vec<u32>,
}

fn pair(device: &Device) -> Pair {
    let (all, options) = (references(0), Options::new(DType::F32));
    let named = |name: &str| -> Arc<Language> { all[name].open(name, 0, device, &options) };
    let ids = weights::token_ids(1, 33, 512, 0);
    Pair {
        draft: named(&expected().draft),
        target: named(&expected().target),
        tokens: ids.into_iter().map(|t| t as u32).collect(),
    }
}

/// The rows of softmax(logits of the target).
fn taught(pair: &Pair, rows: &[u32]) -> Batch {
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
        labels: None,
    }
}

/// By published names.
fn published(all: Vec<(Weight, Vec<f32>)>) -> HashMap<String, Vec<f64>> {
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

/// The largest relative error of norms and of first elements.
fn compare(found: &HashMap<String, Vec<f64>>, expected: &BTreeMap<String, Figures>) -> f64 {
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

fn devices() -> impl Iterator<Item = Device> {
    let all = harness::adapters();
    all.into_iter().map(|a| harness::open(&a, false))
}

#[test]
fn three_steps_are_those_of_torch() {
    let expected = expected();
    for device in devices() {
        let pair = pair(&device);
        let batch = taught(&pair, &expected.positions);
        for (name, steps) in &expected.steps {
            let settings = settings(loss(name, expected.jsd_beta));
            let mut trainer = Trainer::new(&pair.draft, settings).unwrap_or_else(|e| panic!("{e}"));
            let (_, grads) = trainer.gradients(&batch).unwrap_or_else(|e| panic!("{e}"));
            let of = trainer.weights().unwrap_or_else(|e| panic!("{e}"));
            let grads = of.into_iter().zip(grads).map(|((w, _), g)| (w, g));
            let of_grads = compare(&published(grads.collect()), &steps.grads_step0);
            let mut of_losses = 0.0f64;
            for &expected in &steps.losses {
                let step = (trainer.step(std::slice::from_ref(&batch)))
                    .unwrap_or_else(|e| panic!("{name}: {e}"));
                assert!(step.applied);
                of_losses = of_losses.max((step.loss - expected).abs() / expected);
            }
            let params = trainer.weights().unwrap_or_else(|e| panic!("{e}"));
            let of_params = compare(&published(params), &steps.params_after_3);
            println!(
                "{} {name}: losses {of_losses:.1e}, gradients {of_grads:.1e}, parameters {of_params:.1e}",
                device.name()
            );
            assert!(
                of_losses < 1e-4,
                "{name}: losses are off by {of_losses:.1e}"
            );
        }
    }
}

fn one() -> Device {
    devices().next().unwrap_or_else(|| panic!("an adapter"))
}

#[test]
fn gathered_gradients_are_those_of_one_batch() {
    // Two batches of the same number of rows are worth one of all rows.
    let device = one();
    let pair = pair(&device);
    let settings = Settings {
        optimizer: Optimizer::Sgd { momentum: 0.9 },
        lr: 0.1,
        clip: Some(0.5),
        ..settings(Loss::ForwardKl)
    };
    let trained = |batches: &[&[u32]]| {
        let mut trainer =
            Trainer::new(&pair.draft, settings.clone()).unwrap_or_else(|e| panic!("{e}"));
        let batches: Vec<Batch> = batches.iter().map(|rows| taught(&pair, rows)).collect();
        let steps: Vec<_> = (0..3)
            .map(|_| trainer.step(&batches).unwrap_or_else(|e| panic!("{e}")))
            .collect();
        let weights = trainer.weights().unwrap_or_else(|e| panic!("{e}"));
        (steps, published(weights))
    };
    let (whole, of_whole) = trained(&[&[3, 8, 20, 31]]);
    let (parts, of_parts) = trained(&[&[3, 31], &[8, 20]]);
    for (a, b) in whole.iter().zip(&parts) {
        assert!((a.loss - b.loss).abs() < 1e-5 * a.loss, "{a:?} {b:?}");
        assert!((a.norm - b.norm).abs() < 1e-4 * a.norm, "{a:?} {b:?}");
        assert!(a.norm > 0.5, "nothing is clipped: {a:?}");
    }
    assert!(whole[2].loss < whole[0].loss);
    for (name, values) in &of_whole {
        assert!(relative_l2(&of_parts[name], values) < 1e-5, "{name}");
    }
}

#[test]
fn all_losses_fall_on_a_batch_that_is_repeated_and_are_flat_at_the_target() {
    let device = one();
    let pair = pair(&device);
    let batch = taught(&pair, &[4, 9, 10, 17, 25, 32]);
    for loss in [
        Loss::ForwardKl,
        Loss::ReverseKl,
        Loss::Jsd { beta: 0.1 },
        Loss::Tv,
        Loss::CrossEntropy,
    ] {
        let mut trainer =
            Trainer::new(&pair.draft, settings(loss)).unwrap_or_else(|e| panic!("{e}"));
        let losses: Vec<f64> = (0..5)
            .map(|_| {
                trainer
                    .step(std::slice::from_ref(&batch))
                    .unwrap_or_else(|e| panic!("{e}"))
                    .loss
            })
            .collect();
        assert!(losses.is_sorted_by(|a, b| a > b), "{loss:?}: {losses:?}");
        assert!(losses.iter().all(|&l| l > 0.0), "{loss:?}: {losses:?}");
        if loss == Loss::CrossEntropy {
            continue;
        }
        // The target taught by itself.
        let mut same = Trainer::new(&pair.target, settings(loss)).unwrap_or_else(|e| panic!("{e}"));
        let (value, grads) = same.gradients(&batch).unwrap_or_else(|e| panic!("{e}"));
        let norm = grads
            .iter()
            .flatten()
            .map(|g| f64::from(g * g))
            .sum::<f64>()
            .sqrt();
        assert!(
            value.abs() < 1e-5 && norm < 1e-3,
            "{loss:?}: {value:.1e} {norm:.1e}"
        );
    }
}

#[test]
fn a_step_that_is_no_number_changes_nothing() {
    let device = one();
    let pair = pair(&device);
    let fine = taught(&pair, &[4, 9]);
    let mut broken = fine.clone();
    broken.probs[700] = f32::NAN;
    let mut trainer =
        Trainer::new(&pair.draft, settings(Loss::ForwardKl)).unwrap_or_else(|e| panic!("{e}"));
    let step = |trainer: &mut Trainer, batch: &Batch| {
        trainer
            .step(std::slice::from_ref(batch))
            .unwrap_or_else(|e| panic!("{e}"))
    };
    assert!(step(&mut trainer, &fine).applied);
    let before = trainer.export().unwrap_or_else(|e| panic!("{e}"));
    assert!(!step(&mut trainer, &broken).applied);
    assert_eq!(trainer.rejected(), 1);
    assert_eq!(trainer.export().unwrap_or_else(|e| panic!("{e}")), before);
    assert!(step(&mut trainer, &fine).applied);
    assert_ne!(trainer.export().unwrap_or_else(|e| panic!("{e}")), before);
}

/// A reference's draft in a folder.
fn stored(reference: &Reference, name: &str, folder: &Path) {
    let files = reference.files(name, 0);
    let tensors: Vec<(String, Tensor)> = (reference.tensors.iter())
        .map(|(name, shape)| {
            let values = files.weights.values(name).unwrap_or_else(|e| panic!("{e}"));
            let tensor = Tensor::from_f32(shape, &values.to_f32());
            (name.clone(), tensor.unwrap_or_else(|e| panic!("{e}")))
        })
        .collect();
    std::fs::create_dir_all(folder).unwrap_or_else(|e| panic!("{e}"));
    save(&folder.join("model.safetensors"), &tensors, None).unwrap_or_else(|e| panic!("{e}"));
    let config = reference.config.to_string();
    std::fs::write(folder.join("config.json"), config).unwrap_or_else(|e| panic!("{e}"));
    std::fs::write(folder.join("tokenizer.json"), "{}").unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_saved_draft_is_the_trained_one() {
    let device = one();
    let folder = std::env::temp_dir().join(format!("cascadia-distill-{}", std::process::id()));
    let fails = |e: cascadia::Error| -> ! { panic!("{e}") };
    // With biases, a tied head; and with a head of its own.
    for name in ["qwen2", "llama3_rope"] {
        let reference = &references(0)[name];
        let (from, to) = (folder.join(name), folder.join(format!("{name}-trained")));
        stored(reference, name, &from);
        let files = LanguageFiles::open(&from).unwrap_or_else(|e| fails(e));
        let options = Options::new(DType::F32);
        let open = |files| {
            Arc::new(
                Language::open(&device, Arc::new(files), &options).unwrap_or_else(|e| fails(e)),
            )
        };
        let draft = open(files);
        let mut trainer =
            Trainer::new(&draft, settings(Loss::ForwardKl)).unwrap_or_else(|e| fails(e));
        trainer
            .save(&to, &BTreeMap::new())
            .unwrap_or_else(|e| fails(e));
        let names = |of: &Language| -> Vec<String> {
            of.files()
                .unwrap_or_else(|| panic!("files"))
                .weights
                .names()
                .into_iter()
                .map(String::from)
                .collect()
        };
        let again = open(LanguageFiles::open(&to).unwrap_or_else(|e| fails(e)));
        assert_eq!(names(&draft), names(&again));
        let values = |of: &Language, name: &str| {
            of.files()
                .unwrap_or_else(|| panic!("files"))
                .weights
                .values(name)
                .unwrap_or_else(|e| fails(e))
                .to_f32()
        };
        for name in names(&draft) {
            assert_eq!(values(&draft, &name), values(&again, &name), "{name}");
        }
        let tokens: Vec<u32> = weights::token_ids(2, 10, 512, 3)
            .iter()
            .map(|&t| t as u32)
            .collect();
        let mut probs = vec![0.0; 3 * 512];
        for (row, label) in [7, 70, 170].into_iter().enumerate() {
            probs[row * 512 + label] = 1.0;
        }
        let batch = Batch {
            len: 10,
            tokens,
            rows: vec![3, 9, 14],
            probs,
            labels: None,
        };
        let loss = |step: cascadia::Result<cascadia::engine::distill::Step>| {
            step.unwrap_or_else(|e| fails(e)).loss
        };
        let losses: Vec<f64> = (0..2)
            .map(|_| loss(trainer.step(std::slice::from_ref(&batch))))
            .collect();
        trainer
            .save(&to, &BTreeMap::new())
            .unwrap_or_else(|e| fails(e));
        let again = open(LanguageFiles::open(&to).unwrap_or_else(|e| fails(e)));
        let mut other =
            Trainer::new(&again, settings(Loss::ForwardKl)).unwrap_or_else(|e| fails(e));
        let resumed = loss(other.step(std::slice::from_ref(&batch)));
        let went_on = loss(trainer.step(std::slice::from_ref(&batch)));
        assert_eq!(resumed, went_on, "{name}");
        assert!(
            went_on < losses[1] && losses[1] < losses[0],
            "{losses:?} {went_on}"
        );
        // What serves it says the same: the loss is the mean surprise by what is served.
        let mut scorer = Scorer::new(&again, 64).unwrap_or_else(|e| fails(e));
        let logits = (scorer.logits(&batch.tokens[10..]))
            .unwrap_or_else(|e| fails(e))
            .to_f32();
        let row = &logits[4 * 512..5 * 512];
        assert!(row.iter().all(|v| v.is_finite()));
        assert!(to.join("tokenizer.json").exists());
    }
    std::fs::remove_dir_all(&folder).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn recorded_rows_that_cannot_be_are_refused_in_one_line() {
    let folder = std::env::temp_dir().join(format!("cascadia-rows-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("{e}"));
    let path = folder.join("rows.safetensors");
    let whole = |shape: &[usize], values: &[i64]| {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Tensor::new(DType::I64, shape, bytes).unwrap_or_else(|e| panic!("{e}"))
    };
    let probs =
        |first: f32| Tensor::from_f32(&[1, 2, 4], &[first, 0.5, 0.0, 0.0, 0.25, 0.25, 0.25, 0.25]);
    let try_with = |tokens: &[i64], positions: &[i64], first: f32, vocab: usize| {
        let tensors = [
            ("tokens".to_string(), whole(&[1, 3], tokens)),
            ("positions".to_string(), whole(&[1, 2], positions)),
            (
                "target_probs".to_string(),
                probs(first).unwrap_or_else(|e| panic!("{e}")),
            ),
        ];
        save(&path, &tensors, None).unwrap_or_else(|e| panic!("{e}"));
        Recorded::open(&path, vocab).map_err(|e| e.to_string())
    };
    let fine = try_with(&[1, 2, 3], &[0, 2], 0.5, 4).unwrap_or_else(|e| panic!("{e}"));
    let batch = fine.batch([0, 1]);
    assert_eq!((batch.sequences(), &batch.rows[..]), (2, &[0, 2, 3, 5][..]));
    for (result, says) in [
        (try_with(&[1, 2, 4], &[0, 2], 0.5, 4), "`tokens` holds 4"),
        (try_with(&[1, -2, 3], &[0, 2], 0.5, 4), "`tokens` holds -2"),
        (try_with(&[1, 2, 3], &[0, 3], 0.5, 4), "`positions` holds 3"),
        (try_with(&[1, 2, 3], &[2, 2], 0.5, 4), "more than once"),
        (
            try_with(&[1, 2, 3], &[0, 2], f32::NAN, 4),
            "row 0 of target_probs",
        ),
        (
            try_with(&[1, 2, 3], &[0, 2], 0.9, 4),
            "row 0 of target_probs",
        ),
        (try_with(&[1, 2, 3], &[0, 2], 0.5, 5), "vocabulary has 5"),
    ] {
        let message = result.err().unwrap_or_default();
        assert!(
            message.contains(says) && !message.contains('\n'),
            "{says}: {message}"
        );
    }
    std::fs::remove_dir_all(&folder).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_suspended_training_goes_on_as_if_it_never_stopped() {
    let device = one();
    let pair = pair(&device);
    let batch = taught(&pair, &[4, 9]);
    let path = std::env::temp_dir().join(format!("cascadia-state-{}", std::process::id()));
    let new = |optimizer| {
        let settings = Settings {
            optimizer,
            ..settings(Loss::ForwardKl)
        };
        Trainer::new(&pair.draft, settings).unwrap_or_else(|e| panic!("{e}"))
    };
    let step = |t: &mut Trainer| {
        t.step(std::slice::from_ref(&batch))
            .unwrap_or_else(|e| panic!("{e}"))
    };
    let mut trainer = new(Optimizer::default());
    step(&mut trainer);
    step(&mut trainer);
    trainer.suspend(&path).unwrap_or_else(|e| panic!("{e}"));
    let mut other = new(Optimizer::default());
    other.resume(&path).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(other.steps(), 2);
    for _ in 0..2 {
        assert_eq!(step(&mut trainer), step(&mut other));
    }
    let weights = |t: &Trainer| t.export().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(weights(&trainer), weights(&other));
    let refused = new(Optimizer::Sgd { momentum: 0.5 }).resume(&path);
    assert!(refused.is_err_and(|e| e.to_string().contains("velocity")));
    std::fs::remove_file(&path).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn texts_teach_what_follows_a_prompt_alone() {
    let device = one();
    let pair = pair(&device);
    let mut texts = Texts::new(&pair.target, 12, 1.0).unwrap_or_else(|e| panic!("{e}"));
    texts.push_text(&pair.tokens[..17]);
    texts.push_answered(&pair.tokens[..5], &pair.tokens[5..9]);
    texts
        .push_prompt(&pair.tokens[..6], 3, 1)
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(texts.sequences(), 4);
    let batch = texts.batch([1, 2], true).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(batch.rows, [0, 1, 2, 3, 16, 17, 18, 19]);
    assert_eq!(
        batch.labels.as_deref(),
        Some(&[&pair.tokens[13..17], &pair.tokens[5..9]].concat()[..])
    );
    batch.check(512, false).unwrap_or_else(|e| panic!("{e}"));
    // A text's rows do not see the prompt of another.
    let known = taught(&pair, &[4, 5, 6, 7]);
    for (a, b) in batch.probs[4 * 512..].iter().zip(&known.probs) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    let answered = texts.batch([3], false).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(answered.rows, [5, 6, 7]);
    assert!(answered.probs.is_empty());
}
