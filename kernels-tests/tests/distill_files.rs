//! What a training reads and writes: recorded rows, texts, drafts in folders, and its own state.

use cascadia::engine::distill::{
    Author, Batch, Distributions, Loss, Optimizer, Recorded, Settings, Texts, Trainer,
};
use cascadia::engine::language::{Language, Scorer};
use cascadia::io::{LanguageFiles, save};
use cascadia::plan::Options;
use cascadia::tensor::{DType, Tensor};
use kernels_tests::distill::{one, pair, settings, taught};
use kernels_tests::language::{Reference, references};
use kernels_tests::weights;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

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
            ..Batch::default()
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
    trainer
        .suspend(&path, &BTreeMap::new())
        .unwrap_or_else(|e| panic!("{e}"));
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
    texts.push_prompt(&pair.tokens[..6]);
    assert_eq!(texts.sequences(), 4);
    let batch = texts
        .batch([1, 2], Distributions::Host)
        .unwrap_or_else(|e| panic!("{e}"));
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
    let mut author = Author::new(&pair.draft, 12, 1.0, 3).unwrap_or_else(|e| panic!("{e}"));
    let answered = texts.batch_by([3], &mut author, 1, Distributions::None);
    let answered = answered.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(answered.rows, [5, 6, 7]);
    assert!(answered.probs.is_empty());
}

#[test]
fn distributions_that_stay_on_the_device_teach_the_same() {
    let device = one();
    let pair = pair(&device);
    let fails = |e: cascadia::Error| -> ! { panic!("{e}") };
    let new = || Trainer::new(&pair.draft, settings(Loss::ForwardKl)).unwrap_or_else(|e| fails(e));
    // Runs that end before, at and beyond the end of a text.
    let mut texts = Texts::new(&pair.target, 40, 0.7).unwrap_or_else(|e| fails(e));
    let tokens: Vec<u32> = (0..100).map(|i| i * 37 % 500).collect();
    texts.push_text(&tokens[..40]);
    texts.push_text(&tokens[50..67]);
    texts.push_answered(&tokens[7..30], &tokens[80..90]);
    let mut trainers = [new(), new()];
    for which in [[0, 1], [2, 1], [1, 2]] {
        let host = texts.batch(which, Distributions::Host);
        let host = host.unwrap_or_else(|e| fails(e));
        let table = texts.batch(which, Distributions::Table(&mut trainers[1]));
        let table = table.unwrap_or_else(|e| fails(e));
        assert!(table.probs.is_empty() && table.slots.len() == host.rows.len());
        let losses = [(0, &host), (1, &table)].map(|(i, batch)| {
            let step = trainers[i].step(std::slice::from_ref(batch));
            step.unwrap_or_else(|e| fails(e)).loss
        });
        assert!((losses[0] - losses[1]).abs() < 1e-6, "{losses:?}");
        // By the logits that come to the host.
        let mut scorer = Scorer::new(&pair.target, 40).unwrap_or_else(|e| fails(e));
        let first = &host.tokens[..40];
        let logits = scorer.logits(first).unwrap_or_else(|e| fails(e)).to_f32();
        let row = &logits[host.rows[0] as usize * 512..][..512];
        let e: Vec<f64> = row.iter().map(|&v| (f64::from(v) / 0.7).exp()).collect();
        let sum: f64 = e.iter().sum();
        for (p, e) in host.probs.iter().zip(e) {
            assert!((f64::from(*p) - e / sum).abs() < 1e-6, "{p} {}", e / sum);
        }
    }
    let [a, b] = trainers.map(|t| t.export().unwrap_or_else(|e| fails(e)));
    assert_eq!(a, b);
}

#[test]
fn additions_are_saved_in_the_weights_that_they_are_added_to() {
    let device = one();
    let pair = pair(&device);
    let batch = taught(&pair, &[4, 9, 30]);
    let light = Settings {
        low_rank: Some(3),
        lr: 1e-2,
        ..settings(Loss::ForwardKl)
    };
    let mut trainer = Trainer::new(&pair.draft, light).unwrap_or_else(|e| panic!("{e}"));
    let step =
        |t: &mut Trainer| (t.step(std::slice::from_ref(&batch))).unwrap_or_else(|e| panic!("{e}"));
    let before = trainer.export().unwrap_or_else(|e| panic!("{e}"));
    let losses: Vec<f64> = (0..4).map(|_| step(&mut trainer).loss).collect();
    assert!(losses[3] < losses[0], "{losses:?}");
    let after = trainer.export().unwrap_or_else(|e| panic!("{e}"));
    for ((name, a), (_, b)) in before.iter().zip(&after) {
        assert_eq!(a != b, name.contains("proj"), "{name}");
    }
    // The draft that is saved has the loss that the trained one has.
    let folder = std::env::temp_dir().join(format!("cascadia-light-{}", std::process::id()));
    let reference = &references(0)["llama_gqa_tied"];
    stored(reference, "llama_gqa_tied", &folder);
    save(&folder.join("model.safetensors"), &after, None).unwrap_or_else(|e| panic!("{e}"));
    let files = LanguageFiles::open(&folder).unwrap_or_else(|e| panic!("{e}"));
    let saved = Language::open(&device, Arc::new(files), &Options::new(DType::F32));
    let saved = Arc::new(saved.unwrap_or_else(|e| panic!("{e}")));
    let mut again =
        Trainer::new(&saved, settings(Loss::ForwardKl)).unwrap_or_else(|e| panic!("{e}"));
    let (a, b) = (step(&mut again).loss, step(&mut trainer).loss);
    assert!((a - b).abs() < 1e-5 * b, "{a} {b}");
    std::fs::remove_dir_all(&folder).unwrap_or_else(|e| panic!("{e}"));
}
