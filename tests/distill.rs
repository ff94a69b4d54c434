//! `cascadia distill`, as a user runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

mod common;

use cascadia::engine::language::embedded;
use cascadia::io::Checkpoint;
use cascadia::models::language::Config;
use cascadia::tensor::{DType, Tensor};
use common::{Bench, with};
use std::path::Path;

fn whole(shape: &[usize], values: &[i64]) -> Tensor {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor::new(DType::I64, shape, bytes).unwrap()
}

/// Rows of two sequences for the built-in draft: each position is followed by token 7, most likely.
fn rows(bench: &Bench, vocab: usize) -> std::path::PathBuf {
    let mut probs = vec![0.1 / (vocab - 1) as f32; 4 * vocab];
    for row in probs.chunks_mut(vocab) {
        row[7] = 0.9;
    }
    let tensors = [
        (
            "tokens".into(),
            whole(&[2, 5], &[1, 2, 3, 4, 5, 9, 8, 7, 6, 5]),
        ),
        ("positions".into(), whole(&[2, 2], &[1, 4, 0, 3])),
        (
            "target_probs".into(),
            Tensor::from_f32(&[2, 2, vocab], &probs).unwrap(),
        ),
    ];
    bench.tensors("rows.safetensors", &tensors)
}

fn vocabulary() -> usize {
    Config::of(&embedded().unwrap()[1]).unwrap().vocab()
}

fn losses(out: &str) -> Vec<f64> {
    let object: serde_json::Value = serde_json::from_str(out).unwrap();
    let losses = object["losses"].as_array().unwrap();
    losses.iter().map(|l| l.as_f64().unwrap()).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let file = Checkpoint::open(&folder.join("model.safetensors")).unwrap();
    file.names().map(String::from).collect()
}

#[test]
fn a_draft_learns_recorded_rows_and_goes_on_where_it_stopped() {
    let bench = Bench::new();
    let data = rows(&bench, vocabulary());
    let run = |line: &str, to: &str| {
        let line = format!("distill --lr 0.003 --clip 1 --json {line} --data");
        let mut args = with(&line, &[&data]);
        args.extend(["--output".into(), bench.path(to).into_os_string()]);
        losses(&bench.works(&args).out)
    };
    for loss in ["forward_kl", "reverse_kl", "jsd", "tv", "cross_entropy"] {
        let found = run(&format!("--steps 3 --loss {loss}"), loss);
        assert_eq!(found.len(), 3);
        assert!(found[2] < found[0], "{loss}: {found:?}");
    }
    let light = run("--steps 3 --lora-rank 2", "light");
    assert!(light[2] < light[0], "{light:?}");
    let at_once = run("--steps 4 --warmup 2 --schedule cosine", "once");
    let first = run(
        "--steps 4 --warmup 2 --schedule cosine --batch 2 --save-every 2",
        "parts",
    );
    assert_eq!(at_once, first);
    // From the file's second state, nothing is left to do.
    assert!(run("--steps 4 --warmup 2 --schedule cosine --resume", "parts").is_empty());
    let more = run("--steps 6 --resume --recompute", "parts");
    assert_eq!(more.len(), 2);
    assert!(more[1] < at_once[3]);
    let published: Vec<String> = embedded().unwrap()[1]
        .weights
        .names()
        .into_iter()
        .map(String::from)
        .collect();
    assert_eq!(names(&bench.path("parts")), published);
    // What was written is a model.
    let again = format!(
        "distill --steps 1 --lr 0 --weight-decay 0 --json --draft {}",
        bench.path("parts").display()
    );
    let mut args = with(&format!("{again} --data"), &[&data]);
    args.extend(["--output".into(), bench.path("same").into_os_string()]);
    assert!(losses(&bench.works(&args).out)[0] < more[1]);
    let bytes = |of: &str| {
        let file = Checkpoint::open(&bench.path(of).join("model.safetensors")).unwrap();
        let all: Vec<Tensor> = file.names().map(|n| file.tensor(n).unwrap()).collect();
        all
    };
    assert_eq!(bytes("parts"), bytes("same"));
}

#[test]
fn a_rate_that_diverges_loses_no_draft() {
    let bench = Bench::new();
    let data = rows(&bench, vocabulary());
    let mut args = with("distill --steps 1 --lr 0.001 --data", &[&data]);
    args.extend(["--output".into(), bench.path("out").into_os_string()]);
    bench.works(&args);
    let before = std::fs::read(bench.path("out/model.safetensors")).unwrap();
    for steps in ["3", "30"] {
        let line = format!("distill --steps {steps} --lr 1e30 --data");
        let mut args = with(&line, &[&data]);
        args.extend(["--output".into(), bench.path("out").into_os_string()]);
        bench.fails(&args, &["diverged", "--lr"]);
        let after = std::fs::read(bench.path("out/model.safetensors")).unwrap();
        assert!(before == after);
    }
}

#[test]
fn texts_are_taught_by_the_built_in_target() {
    let bench = Bench::new();
    let data = bench.file(
        "texts.jsonl",
        b"{\"prompt\": \"fn main\", \"answer\": \"() {}\"}\n{\"prompt\": \"let\"}\n{\"text\": \"use std::io;\", \"prompt\": null}\n",
    );
    let mut args = with(
        "distill --steps 2 --lr 0.001 --length 16 --max-new 4 --json --data",
        &[&data],
    );
    args.extend(["--output".into(), bench.path("out").into_os_string()]);
    assert_eq!(losses(&bench.works(&args).out).len(), 2);
    assert!(bench.path("out/tokenizer.json").exists());
    for source in ["student", "mixed"] {
        let line = format!(
            "distill --source {source} --steps 3 --lr 0.001 --length 16 --max-new 4 --json --data"
        );
        let mut args = with(&line, &[&data]);
        args.extend(["--output".into(), bench.path(source).into_os_string()]);
        assert_eq!(losses(&bench.works(&args).out).len(), 3);
    }
}

#[test]
fn what_cannot_be_is_said_in_one_line() {
    let bench = Bench::new();
    let (data, out) = (rows(&bench, vocabulary()), bench.path("out"));
    let narrow = bench.tensors(
        "narrow.safetensors",
        &[("tokens".into(), whole(&[1, 2], &[1, 2]))],
    );
    let (empty, line) = (
        bench.file("empty.txt", b""),
        bench.file("bad.jsonl", b"{}\n"),
    );
    let fine = "--steps 1 --lr 0.001";
    let cases: [(&str, &Path, &[&str]); 10] = [
        (
            "--steps 1 --lr 0.001 --source student",
            &data,
            &["--source student", "recorded"],
        ),
        ("--steps 0 --lr 0.001", &data, &["--steps"]),
        ("--steps 1 --lr -1", &data, &["learning rate is -1"]),
        ("--steps 1 --lr nan", &data, &["learning rate is NaN"]),
        (
            "--steps 1 --lr 0.001 --loss jsd --beta 1",
            &data,
            &["beta is 1"],
        ),
        (
            "--steps 1 --lr 0.001 --resume",
            &data,
            &["training.safetensors"],
        ),
        (fine, &narrow, &["narrow.safetensors", "positions"]),
        (fine, &empty, &["empty.txt", "nothing to learn"]),
        (fine, &line, &["bad.jsonl", "text 1"]),
        (fine, Path::new("nowhere.txt"), &["nowhere.txt"]),
    ];
    for (flags, data, says) in cases {
        let mut args = with(&format!("distill {flags} --data"), &[data]);
        args.extend(["--output".into(), out.clone().into_os_string()]);
        bench.fails(&args, says);
        assert!(!out.exists(), "{flags}");
    }
}
