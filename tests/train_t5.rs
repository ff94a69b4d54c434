//! `cascadia train` and `cascadia distill` of T5, as a user runs them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

mod common;

use cascadia::io::{Checkpoint, LanguageFiles};
use cascadia::tensor::{DType, Tensor};
use common::language::{but, t5, tokenizer};
use common::{Bench, with};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A T5 with the built-in models' vocabulary, and gated GELU where `gated`, with a head of its own then.
fn config(gated: bool) -> Value {
    let base = but(t5(), "vocab_size", json!(2048));
    match gated {
        false => base,
        true => but(
            but(base, "feed_forward_proj", json!("gated-gelu")),
            "tie_word_embeddings",
            json!(false),
        ),
    }
}

/// The folder of a tokenizer.
fn words(bench: &Bench) -> PathBuf {
    let says = json!({"bos_token": "<s>", "eos_token": "</s>"}).to_string();
    bench.file("words/tokenizer.json", tokenizer().to_string().as_bytes());
    bench.file("words/tokenizer_config.json", says.as_bytes());
    bench.path("words")
}

/// Pairs of a question and its answer.
fn pairs(bench: &Bench) -> PathBuf {
    let pair = |prompt: &str, text: &str| json!({"prompt": prompt, "text": text}).to_string();
    let lines = [
        pair("let mut sum", "= 0;"),
        pair("for i in", "0..10 {"),
        pair("use std", "::io;"),
    ];
    bench.file("pairs/a.jsonl", lines.join("\n").as_bytes())
}

fn and(line: &str, rest: &[(&str, &Path)]) -> Vec<OsString> {
    let mut args: Vec<OsString> = with(line, &[]);
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
fn a_drawn_model_learns_answers_and_teaches_another() {
    let bench = Bench::new();
    let (words, data) = (words(&bench), pairs(&bench));
    // A text without a prompt goes by halves.
    bench.file("pairs/b.txt", b"fn main() { let x = 1; }");
    let folder = data.parent().unwrap();
    let how = "--lr 0.003 --length 12 --batch 4 --clip 1 --json";
    let train = |flags: &str, gated: bool, to: &str| {
        let file = if gated { "gated.json" } else { "relu.json" };
        let config = bench.file(file, config(gated).to_string().as_bytes());
        let line = format!("train {how} {flags}");
        let to = bench.path(to);
        let rest: [(&str, &Path); 4] = [
            ("--config", &config),
            ("--tokenizer", &words),
            ("--data", folder),
            ("--output", &to),
        ];
        losses(&bench.works(&and(&line, &rest)).out)
    };
    let once = train("--steps 16", true, "teacher");
    assert!(once[15] < 0.7 * once[0], "{once:?}");
    let parts = [
        train("--steps 6 --save-every 3", true, "parts"),
        train("--steps 16 --resume", true, "parts"),
    ];
    assert_eq!(once, parts.concat());
    assert_eq!(
        tensors(&bench.path("teacher")),
        tensors(&bench.path("parts"))
    );
    let teacher = bench.path("teacher");
    assert_eq!(LanguageFiles::open(&teacher).unwrap().config, config(true));
    let names: Vec<String> = tensors(&teacher).into_iter().map(|t| t.0).collect();
    assert!(names.contains(&"lm_head.weight".into()), "{names:?}");
    train("--steps 1", false, "draft");
    let out = bench.works(&and(
        "generate --max-new 4 --json --prompt let",
        &[("--target", &teacher), ("--draft", &bench.path("draft"))],
    ));
    let said: Value = serde_json::from_str(&out.out).unwrap();
    assert!(!said["tokens"].as_array().unwrap().is_empty());

    let prompts = bench.file(
        "prompts.jsonl",
        b"{\"prompt\": \"let mut\"}\n{\"prompt\": \"for i\", \"answer\": \"in 0..10\"}\n",
    );
    for source in ["teacher", "mixed"] {
        let line = format!("distill --source {source} --steps 6 --max-new 4 {how}");
        let to = bench.path(&format!("of-{source}"));
        let rest: [(&str, &Path); 4] = [
            ("--target", &teacher),
            ("--draft", &bench.path("draft")),
            ("--data", &prompts),
            ("--output", &to),
        ];
        let found = losses(&bench.works(&and(&line, &rest)).out);
        assert_eq!(found.len(), 6);
        assert!(source == "mixed" || found[5] < found[0], "{found:?}");
        assert!(to.join("tokenizer.json").exists());
    }
    // A draft of the other kind.
    let rest: [(&str, &Path); 3] = [
        ("--target", &teacher),
        ("--data", &prompts),
        ("--output", &bench.path("none")),
    ];
    let mut args = and(&format!("distill --steps 1 {how}"), &rest);
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/language/draft");
    args.extend(["--draft".into(), built_in.into_os_string()]);
    bench.fails(&args, &["encoder", "one kind"]);
    assert!(!bench.path("none").exists());
}

fn whole(shape: &[usize], values: &[i64]) -> Tensor {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor::new(DType::I64, shape, bytes).unwrap()
}

#[test]
fn recorded_rows_of_a_decoder_are_learned() {
    let bench = Bench::new();
    let draft = bench.whole("draft", &t5());
    let rows = |name: &str, more: &[(&str, Tensor)]| {
        let mut probs = vec![0.1 / 127.0; 4 * 128];
        probs.chunks_mut(128).for_each(|row| row[7] = 0.9);
        let mut all = vec![
            ("positions".to_string(), whole(&[2, 2], &[0, 2, 1, 2])),
            (
                "target_probs".into(),
                Tensor::from_f32(&[2, 2, 128], &probs).unwrap(),
            ),
            ("tokens".into(), whole(&[2, 4], &[9, 8, 7, 1, 5, 1, 0, 0])),
        ];
        all.extend(more.iter().map(|(n, t)| ((*n).to_string(), t.clone())));
        bench.tensors(name, &all)
    };
    let answers = || whole(&[2, 3], &[0, 4, 5, 0, 6, 7]);
    let run = |flags: &str, data: &Path, to: &str| {
        let line = format!("distill --lr 0.003 --clip 1 --json {flags}");
        let to = bench.path(to);
        let rest: [(&str, &Path); 3] = [("--draft", &draft), ("--data", data), ("--output", &to)];
        and(&line, &rest)
    };
    let fine = rows(
        "fine.safetensors",
        &[
            ("decoder_tokens", answers()),
            ("lengths", whole(&[2], &[4, 2])),
        ],
    );
    for (i, flags) in [
        "--loss jsd",
        "--loss cross_entropy --recompute",
        "--lora-rank 2",
    ]
    .into_iter()
    .enumerate()
    {
        let args = run(&format!("--steps 4 {flags}"), &fine, &format!("to{i}"));
        let found = losses(&bench.works(&args).out);
        assert!(found[3] < found[0], "{flags}: {found:?}");
    }
    // Without lengths, padding is read as what it is.
    let unmasked = rows("all.safetensors", &[("decoder_tokens", answers())]);
    let first = |data: &Path, to: &str| losses(&bench.works(&run("--steps 1", data, to)).out)[0];
    assert_ne!(first(&fine, "masked"), first(&unmasked, "unmasked"));
    for (name, more, says) in [
        ("bare", vec![], &["decoder_tokens", "encoder"]),
        (
            "few",
            vec![("decoder_tokens", whole(&[1, 3], &[0, 1, 2]))],
            &["decoder_tokens [1, 3]", "do not fit"],
        ),
        (
            "long",
            vec![
                ("decoder_tokens", answers()),
                ("lengths", whole(&[2], &[5, 1])),
            ],
            &["`lengths` holds 5", "0 to 4"],
        ),
        (
            "flat",
            vec![
                ("decoder_tokens", answers()),
                ("lengths", whole(&[1, 2], &[4, 1])),
            ],
            &["lengths [1, 2]", "do not fit"],
        ),
    ] {
        let data = rows(&format!("{name}.safetensors"), &more);
        bench.fails(&run("--steps 1", &data, "none"), says);
        assert!(!bench.path("none").exists());
    }
    // And no other model reads them.
    let mut args = run("--steps 1", &fine, "none");
    args.retain(|a| a != "--draft" && a != draft.as_os_str());
    bench.fails(&args, &["target_probs are of 128"]);
}
