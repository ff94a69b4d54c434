//! Distillation against torch in float64: losses, gradients, and what three steps of AdamW make of a small Llama.

use cascadia::engine::distill::{Batch, Loss, Optimizer, Settings, Trainer};
use cascadia::engine::language::Language;
use cascadia::models::language::Config;
use cascadia::plan::Options;
use cascadia::tensor::DType;
use kernels_tests::distill::{
    Steps, compare, devices, loss, one, pair, published, settings, taught,
};
use kernels_tests::references::relative_l2;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Deserialize)]
struct Expected {
    positions: Vec<u32>,
    jsd_beta: f32,
    steps: BTreeMap<String, Steps>,
}

fn expected() -> Expected {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("references/distill_seed0.json");
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
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

#[test]
fn what_is_computed_again_is_the_same_in_less_memory() {
    let device = one();
    let pair = pair(&device);
    let batch = taught(&pair, &[4, 9, 32]);
    let run = |recompute| {
        let settings = Settings {
            recompute,
            ..settings(Loss::ForwardKl)
        };
        // The target has three layers.
        let mut trainer = Trainer::new(&pair.target, settings).unwrap_or_else(|e| panic!("{e}"));
        let other = Batch {
            probs: batch.probs.iter().rev().copied().collect(),
            ..batch.clone()
        };
        let steps: Vec<_> = (0..2)
            .map(|_| (trainer.step(std::slice::from_ref(&other))).unwrap_or_else(|e| panic!("{e}")))
            .collect();
        let weights = trainer.export().unwrap_or_else(|e| panic!("{e}"));
        (steps, weights, trainer.working_bytes())
    };
    let (kept, again) = (run(false), run(true));
    assert_eq!(kept.0, again.0);
    assert_eq!(kept.1, again.1);
    println!(
        "{} bytes kept, {} with layers computed again",
        kept.2, again.2
    );
    assert!(again.2 < kept.2, "{} {}", again.2, kept.2);
}

#[test]
fn a_deep_draft_is_planned() {
    let device = one();
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "vocab_size": 32, "hidden_size": 16, "intermediate_size": 16,
        "num_hidden_layers": 48, "num_attention_heads": 2, "max_position_embeddings": 32
    });
    let config = Config::parse(Path::new("config.json"), &config).unwrap_or_else(|e| panic!("{e}"));
    let options = Options::new(DType::F32);
    let model = Arc::new(Language::of_noise(&device, config, &options));
    for recompute in [false, true] {
        let settings = Settings {
            recompute,
            ..settings(Loss::CrossEntropy)
        };
        let mut trainer = Trainer::new(&model, settings).unwrap_or_else(|e| panic!("{e}"));
        let batch = Batch {
            len: 4,
            tokens: vec![1, 2, 3, 4],
            rows: vec![3],
            labels: Some(vec![5]),
            ..Batch::default()
        };
        let step = trainer.step(&[batch]).unwrap_or_else(|e| panic!("{e}"));
        assert!(step.applied && step.loss > 0.0, "{step:?}");
    }
}

#[test]
fn a_step_of_exploded_gradients_changes_nothing() {
    let device = one();
    let pair = pair(&device);
    let batch = taught(&pair, &[4, 9]);
    // Beyond a tenth of the usual norm: which every step is, once there is a usual norm.
    let settings = Settings {
        explosion: 0.1,
        ..settings(Loss::ForwardKl)
    };
    let mut trainer = Trainer::new(&pair.draft, settings).unwrap_or_else(|e| panic!("{e}"));
    let applied: Vec<bool> = (0..10)
        .map(|_| {
            let step = trainer.step(std::slice::from_ref(&batch));
            step.unwrap_or_else(|e| panic!("{e}")).applied
        })
        .collect();
    assert_eq!(applied, [vec![true; 8], vec![false; 2]].concat());
    assert_eq!((trainer.rejected(), trainer.rejected_in_a_row()), (2, 2));
}
