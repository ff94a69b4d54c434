//! `generate --adapt`, as a user runs it: the words stay the target's, whatever the draft has to learn from, and the draft
//! that is kept is one that works.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

mod common;

use cascadia::io::Checkpoint;
use cascadia::tensor::Tensor;
use common::language::{but, llama, t5, tensors};
use common::{Bench, with};
use serde_json::json;
use std::path::{Path, PathBuf};

struct Setting {
    bench: Bench,
    target: PathBuf,
    draft: PathBuf,
    saved: PathBuf,
}

/// Half as wide as the target.
fn small() -> serde_json::Value {
    but(
        but(llama(), "hidden_size", json!(16)),
        "num_attention_heads",
        json!(1),
    )
}

impl Setting {
    fn new() -> Self {
        Self::of(&llama(), &small())
    }

    fn of(target: &serde_json::Value, draft: &serde_json::Value) -> Self {
        let bench = Bench::new();
        let target = bench.whole("target", target);
        let draft = bench.whole("draft", draft);
        let saved = bench.path("saved");
        Self {
            bench,
            target,
            draft,
            saved,
        }
    }

    fn args(&self, tokens: &Path, adapt: bool) -> Vec<std::ffi::OsString> {
        let line =
            "generate --json --dtype f32 --temperature 0 --max-new 10 --draft-len 2 --tokens";
        let mut args = with(line, &[tokens]);
        for (flag, path) in [("--target", &self.target), ("--draft", &self.draft)] {
            args.extend([flag.into(), path.into()]);
        }
        if adapt {
            args.extend(["--adapt".into(), "--save-draft".into()]);
            args.push(self.saved.clone().into());
        }
        args
    }

    fn says(&self, tokens: &Path, adapt: bool) -> serde_json::Value {
        let ran = self.bench.works(&self.args(tokens, adapt));
        let object: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        object["tokens"].clone()
    }

    /// Of the draft that is kept.
    fn version(&self) -> u64 {
        let file = Checkpoint::open(&self.saved.join("model.safetensors")).unwrap();
        for name in file.names() {
            let values = file.tensor(name).unwrap().to_f32();
            assert!(values.iter().all(|v| v.is_finite()), "{name}");
        }
        file.metadata()["cascadia.version"].parse().unwrap()
    }
}

#[test]
fn noise_and_repetition_change_no_word_and_the_draft_goes_on() {
    let setting = Setting::new();
    let list = |name: &str, of: &dyn Fn(usize) -> usize| {
        let ids: Vec<usize> = (0..40).map(of).collect();
        (setting.bench).file(name, json!(ids).to_string().as_bytes())
    };
    let mut versions = Vec::new();
    for tokens in [
        list("noise.json", &|i| (i * i * 7919 + 13) % 2048),
        list("one.json", &|_| 5),
    ] {
        let plain = setting.says(&tokens, false);
        assert_eq!(setting.says(&tokens, true), plain);
        versions.push(setting.version());
    }
    assert_eq!(versions, [1, 2]);
    // What it began as, and all that it learned from.
    let said = |key: &str| {
        let file = Checkpoint::open(&setting.saved.join("model.safetensors")).unwrap();
        file.metadata()[&format!("cascadia.{key}")].clone()
    };
    assert_eq!(said("parent"), setting.draft.display().to_string());
    let rows: u64 = said("rows").parse().unwrap();
    let tokens = list("noise.json", &|i| (i * i * 7919 + 13) % 2048);
    let ran = setting.bench.works(&setting.args(&tokens, true));
    let told: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    if told["updates"] == 1 {
        assert_eq!(told["version"], 3);
        let now: u64 = said("rows").parse().unwrap();
        assert_eq!(now, rows + told["rows"].as_u64().unwrap());
    }
    assert_eq!(
        told["updates"].as_u64().unwrap() + told["rolled_back"].as_u64().unwrap(),
        1
    );
}

#[test]
fn a_draft_with_an_encoder_learns_too() {
    let model = but(t5(), "vocab_size", json!(2048));
    let setting = Setting::of(&model, &model);
    // Other weights than the target's.
    let turned = |t: &Tensor| {
        let values: Vec<f32> = t.to_f32().into_iter().rev().collect();
        Tensor::from_f32(t.shape(), &values).unwrap()
    };
    let other: Vec<_> = (tensors(&model).iter())
        .map(|(name, t)| (name.clone(), turned(t)))
        .collect();
    setting.bench.model("draft", &model, &other, None);
    let tokens = setting.bench.file("ids.json", b"[5, 9, 2, 77, 1]");
    let plain = setting.says(&tokens, false);
    for version in 1..3 {
        assert_eq!(setting.says(&tokens, true), plain);
        assert_eq!(setting.version(), version);
    }
}

#[test]
fn a_folder_with_another_draft_is_left_as_it_is() {
    let setting = Setting::new();
    let tokens = setting.bench.file("ids.json", b"[1, 2, 3]");
    let wider = but(small(), "intermediate_size", json!(128));
    let deeper = but(small(), "num_hidden_layers", json!(2));
    for config in [&wider, &deeper] {
        let name = "saved/model.safetensors";
        std::fs::create_dir_all(&setting.saved).unwrap();
        setting.bench.tensors(name, &tensors(config));
        let text = config.to_string();
        setting.bench.file("saved/config.json", text.as_bytes());
        let before = std::fs::read(setting.bench.path(name)).unwrap();
        let args = setting.args(&tokens, true);
        setting.bench.fails(&args, &["saved", "another shape"]);
        assert!(std::fs::read(setting.bench.path(name)).unwrap() == before);
    }
    let damaged = b"no tensors at all";
    setting.bench.file("saved/model.safetensors", damaged);
    let args = setting.args(&tokens, true);
    setting.bench.fails(&args, &["saved"]);
    let left = std::fs::read(setting.saved.join("model.safetensors")).unwrap();
    assert_eq!(left, damaged);
}
