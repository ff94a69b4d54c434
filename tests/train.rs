//! `cascadia train`, as a user runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

mod common;

use cascadia::engine::distill::fresh;
use cascadia::io::{Checkpoint, LanguageFiles};
use cascadia::tensor::Tensor;
use common::language::{but, llama, t5, tokenizer};
use common::{Bench, with};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const TEXT: &str =
    "fn main() {\n    let mut sum = 0;\n    for i in 0..10 {\n        sum += i;\n    }\n}\n";

/// A configuration and the folder of a tokenizer.
fn begun(bench: &Bench) -> [PathBuf; 2] {
    let config = bench.file("small.json", llama().to_string().as_bytes());
    let says = json!({"bos_token": "<s>", "eos_token": "</s>"}).to_string();
    bench.file("words/tokenizer.json", tokenizer().to_string().as_bytes());
    bench.file("words/tokenizer_config.json", says.as_bytes());
    // What is of the tokenizer's own model stays there.
    bench.file("words/config.json", b"{}");
    bench.file("words/generation_config.json", b"{\"temperature\": 9}");
    [config, bench.path("words")]
}

fn line(
    flags: &str,
    [config, words]: &[PathBuf; 2],
    data: &Path,
    to: &Path,
) -> Vec<std::ffi::OsString> {
    let mut args = with(&format!("train {flags} --config"), &[config]);
    let rest: [(&str, &Path); 3] = [("--tokenizer", words), ("--data", data), ("--output", to)];
    for (flag, path) in rest {
        args.extend([flag.into(), path.as_os_str().to_owned()]);
    }
    args
}

fn losses(out: &str) -> Vec<f64> {
    let object: Value = serde_json::from_str(out).unwrap();
    let losses = object["losses"].as_array().unwrap();
    losses.iter().map(|l| l.as_f64().unwrap()).collect()
}

fn tensors(folder: &Path) -> Vec<(String, Tensor)> {
    let file = Checkpoint::open(&folder.join("model.safetensors")).unwrap();
    let all = file
        .names()
        .map(|n| (n.to_string(), file.tensor(n).unwrap()));
    all.collect()
}

#[test]
fn a_drawn_model_learns_a_text_goes_on_and_is_a_model() {
    let bench = Bench::new();
    let begun = begun(&bench);
    bench.file("texts/a.txt", TEXT.as_bytes());
    let told = json!({"text": TEXT}).to_string();
    bench.file(
        "texts/deeper/b.jsonl",
        format!("{told}\n\n{told}\n").as_bytes(),
    );
    let data = bench.path("texts");
    let how = "--lr 0.01 --length 16 --batch 4 --warmup 2 --clip 1 --json";
    let run = |flags: &str, to: &str| {
        let args = line(&format!("{how} {flags}"), &begun, &data, &bench.path(to));
        losses(&bench.works(&args).out)
    };
    let once = run("--steps 24", "once");
    // What knows nothing takes all 2048 tokens for equally likely.
    assert!((once[0] - 2048f64.ln()).abs() < 0.2, "{once:?}");
    assert!(once[23] < 0.6 * once[0], "{once:?}");
    let parts = [
        run("--steps 10 --save-every 5", "parts"),
        run("--steps 24 --resume", "parts"),
    ];
    assert_eq!(once, parts.concat());
    assert_eq!(tensors(&bench.path("once")), tensors(&bench.path("parts")));
    let other = run("--steps 1 --seed 4", "other");
    assert_ne!(once[0], other[0]);
    // It is a model as published ones are.
    let folder = bench.path("once");
    let files = LanguageFiles::open(&folder).unwrap();
    assert_eq!(files.config, llama());
    assert!(files.tokenizer().unwrap().unwrap().bos().is_some());
    assert!(!folder.join("generation_config.json").exists());
    let mut args = with(
        "generate --max-new 4 --json --draft none --prompt fn --target",
        &[&folder],
    );
    let out = bench.works(&args).out;
    let said: Value = serde_json::from_str(&out).unwrap();
    assert!(!said["tokens"].as_array().unwrap().is_empty());
    // And one that another training begins with.
    args = with(&format!("train {how} --steps 1 --init"), &[&folder]);
    args.extend(["--data".into(), data.clone().into_os_string()]);
    args.extend(["--output".into(), bench.path("more").into_os_string()]);
    assert!(losses(&bench.works(&args).out)[0] < 0.6 * once[0]);
}

#[test]
fn weights_are_drawn_as_transformers_draws_them() {
    let bench = Bench::new();
    let [config, words] = begun(&bench);
    let files = fresh(&config, &words, 5).unwrap();
    let values = |files: &LanguageFiles, name: &str| files.weights.values(name).unwrap().to_f32();
    for name in files.weights.names() {
        let found = values(&files, name);
        if name.contains("norm") {
            assert!(found.iter().all(|&v| v == 1.0), "{name}");
            continue;
        }
        let squares: f64 = found.iter().map(|&v| f64::from(v).powi(2)).sum();
        let deviation = (squares / found.len() as f64).sqrt();
        assert!((deviation - 0.02).abs() < 0.002, "{name}: {deviation}");
    }
    let name = "model.layers.0.mlp.up_proj.weight";
    assert_eq!(
        values(&files, name),
        values(&fresh(&config, &words, 5).unwrap(), name)
    );
    assert_ne!(
        values(&files, name),
        values(&fresh(&config, &words, 6).unwrap(), name)
    );
    assert_ne!(
        values(&files, name),
        values(&files, "model.layers.0.mlp.gate_proj.weight")
    );
    let wide = but(
        but(llama(), "initializer_range", json!(0.1)),
        "attention_bias",
        json!(true),
    );
    let config = bench.file("wide.json", wide.to_string().as_bytes());
    let files = fresh(&config, &words, 5).unwrap();
    let most = |name: &str| {
        values(&files, name)
            .iter()
            .fold(0f32, |a, b| a.max(b.abs()))
    };
    assert!(most(name) > 0.25 && most(name) < 0.6);
    assert_eq!(most("model.layers.0.self_attn.q_proj.bias"), 0.0);
}

#[test]
fn what_cannot_be_is_said_in_one_line() {
    let bench = Bench::new();
    let [config, words] = begun(&bench);
    let (text, out) = (bench.file("a.txt", TEXT.as_bytes()), bench.path("out"));
    let json = |name: &str, value: Value| bench.file(name, value.to_string().as_bytes());
    let few = json("few.json", but(llama(), "vocab_size", json!(64)));
    let encoder = json("t5.json", but(t5(), "initializer_factor", json!(-1)));
    let range = json(
        "range.json",
        but(llama(), "initializer_range", json!("wide")),
    );
    let (empty, line_) = (
        bench.file("empty.txt", b""),
        bench.file("bad.jsonl", b"{\"prompt\": \"a\"}\n"),
    );
    let binary = bench.file("binary/a.bin", b"\xff\xfe\x00");
    let (nowhere, none) = (bench.path("nowhere"), bench.path("none"));
    std::fs::create_dir(&none).unwrap();
    let fine = "--steps 1 --lr 0.001";
    let wide = json(
        "wide.json",
        but(llama(), "hidden_size", json!(1_000_000_000)),
    );
    let deep = json(
        "deep.json",
        but(llama(), "num_hidden_layers", json!(100_000_000)),
    );
    let cases: [(&str, &Path, &Path, &Path, &[&str]); 16] = [
        (fine, &wide, &words, &text, &["wide.json", "parameters"]),
        (
            fine,
            &deep,
            &words,
            &text,
            &["deep.json", "num_hidden_layers"],
        ),
        (
            "--steps 1 --lr 1 --batch 99999999999",
            &config,
            &words,
            &text,
            &["--batch 99999999999"],
        ),
        ("--steps 0 --lr 1", &config, &words, &text, &["--steps"]),
        (
            "--steps 1 --lr -1",
            &config,
            &words,
            &text,
            &["learning rate is -1"],
        ),
        (
            "--steps 1 --lr 0.001 --length 65",
            &config,
            &words,
            &text,
            &["65", "2 to 64"],
        ),
        (
            "--steps 1 --lr 0.001 --length 16 --resume",
            &config,
            &words,
            &text,
            &["training.safetensors"],
        ),
        (fine, &nowhere, &words, &text, &["nowhere"]),
        (fine, &config, &none, &text, &["none", "tokenizer.json"]),
        (fine, &few, &words, &text, &["embedding has 64 rows"]),
        (
            fine,
            &encoder,
            &words,
            &text,
            &["t5.json", "initializer_factor"],
        ),
        (
            fine,
            &range,
            &words,
            &text,
            &["range.json", "initializer_range"],
        ),
        (
            "--steps 1 --lr 1 --length 16",
            &config,
            &words,
            &empty,
            &["empty.txt", "nothing to learn"],
        ),
        (
            "--steps 1 --lr 1 --length 16",
            &config,
            &words,
            &line_,
            &["bad.jsonl", "text 1", "`text`"],
        ),
        (
            "--steps 1 --lr 1 --length 16",
            &config,
            &words,
            binary.parent().unwrap(),
            &["a.bin", "UTF-8"],
        ),
        (
            "--steps 1 --lr 1 --length 16",
            &config,
            &words,
            &nowhere,
            &["nowhere"],
        ),
    ];
    for (flags, config, words, data, says) in cases {
        let begun = [config.to_path_buf(), words.to_path_buf()];
        bench.fails(&line(flags, &begun, data, &out), says);
        assert!(!out.exists(), "{flags}");
    }
    // What has learned nothing is not saved.
    let far = json("far.json", but(llama(), "initializer_range", json!(1e30)));
    let begun = [far, words];
    bench.fails(
        &line("--steps 1 --lr 0.001 --length 16", &begun, &text, &out),
        &["training", "out"],
    );
    assert!(!out.join("model.safetensors").exists());
    let mut args = with("train --steps 1 --lr 1 --data", &[&text]);
    args.extend(["--output".into(), out.clone().into_os_string()]);
    bench.fails(&args, &["--config", "--tokenizer"]);
}
