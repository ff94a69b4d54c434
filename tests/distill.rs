//! `cascadia distill`, as a user runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

mod common;

use cascadia::engine::language::embedded;
use cascadia::io::{Checkpoint, Lock};
use cascadia::models::language::Config;
use cascadia::tensor::{DType, Tensor};
use common::language::llama;
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
    // Another training is not gone on with; steps may be more.
    let line = "distill --steps 6 --lr 0.003 --clip 1 --batch 1 --resume --data";
    let mut args = with(line, &[&data]);
    args.extend(["--output".into(), bench.path("parts").into_os_string()]);
    bench.fails(&args, &["training.safetensors", "--batch 2, not 1"]);
    let more = run(
        "--steps 6 --warmup 2 --schedule cosine --resume --recompute",
        "parts",
    );
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
    for how in ["3 --lr 1e30", "30 --lr 1e30", "1 --lr 1e30", "1 --lr 1e3"] {
        let line = format!("distill --steps {how} --save-every 1 --data");
        let mut args = with(&line, &[&data]);
        args.extend(["--output".into(), bench.path("out").into_os_string()]);
        bench.fails(&args, &["diverged", "--lr"]);
        let after = std::fs::read(bench.path("out/model.safetensors")).unwrap();
        assert!(before == after);
    }
}

#[test]
fn a_folder_keeps_what_it_has_until_all_is_written() {
    let bench = Bench::new();
    let data = rows(&bench, vocabulary());
    let out = bench.path("out");
    let line = |flags: &str| {
        let mut args = with(&format!("distill --lr 0.001 {flags} --data"), &[&data]);
        args.extend(["--output".into(), out.clone().into_os_string()]);
        args
    };
    bench.works(&line("--steps 1 --save-every 1"));
    let config = std::fs::read_to_string(out.join("config.json")).unwrap();
    let half = config.replacen('{', "{\"torch_dtype\": \"float16\",", 1);
    bench.file("out/config.json", half.as_bytes());
    let weights = std::fs::read(out.join("model.safetensors")).unwrap();
    let same = || {
        let now = std::fs::read(out.join("model.safetensors")).unwrap();
        assert!(now == weights);
        let now = std::fs::read_to_string(out.join("config.json")).unwrap();
        assert_eq!(now, half);
    };
    #[cfg(unix)]
    {
        let ran = bench.run_short_of_room(&line("--steps 1"), weights.len() / 1024 / 2);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        same();
    }
    let held = Lock::of(&out).unwrap();
    bench.fails(&line("--steps 1"), &["out", "another process"]);
    drop(held);
    // What an earlier run left to go on from is not left beside another's weights.
    assert!(out.join("training.safetensors").exists());
    bench.works(&line("--steps 1"));
    assert!(!out.join("training.safetensors").exists());
    let other = bench.whole("other", &llama());
    let before = std::fs::read(other.join("model.safetensors")).unwrap();
    let mut args = line("--steps 1");
    args.pop();
    args.push(other.clone().into());
    bench.fails(&args, &["other", "another shape"]);
    assert!(std::fs::read(other.join("model.safetensors")).unwrap() == before);
    let saved = std::fs::read_to_string(out.join("config.json")).unwrap();
    assert!(!saved.contains("float16"));
}

#[test]
fn texts_of_the_draft_go_on_as_without_a_break() {
    let bench = Bench::new();
    let data = bench.file(
        "texts.jsonl",
        b"\xef\xbb\xbf{\"prompt\": \"fn main\"}\n{\"prompt\": \"let\"}\n{\"prompt\": \"use\"}\n",
    );
    let run = |flags: &str, to: &str| {
        let line = format!(
            "distill --source student --lr 0.01 --length 12 --max-new 4 --batch 2 --save-every 3 --json {flags} --data"
        );
        let mut args = with(&line, &[&data]);
        args.extend(["--output".into(), bench.path(to).into_os_string()]);
        losses(&bench.works(&args).out)
    };
    let once = run("--steps 5", "once");
    let parts = [
        run("--steps 3", "parts"),
        run("--steps 5 --resume", "parts"),
    ];
    assert_eq!(once, parts.concat());
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
    let text = bench.file("a.txt", b"let x = 1; let y = 2;");
    let latin = bench.file("latin.txt", b"caf\xe9 caf\xe9");
    let vocab = vocabulary();
    let odd = |name: &str, length: usize, other: f32| {
        let mut probs = vec![0.0; vocab];
        (probs[3], probs[4]) = (1.0 - other, other);
        let tokens = vec![1; length];
        let tensors = [
            ("tokens".into(), whole(&[1, length], &tokens)),
            ("positions".into(), whole(&[1, 1], &[0])),
            (
                "target_probs".into(),
                Tensor::from_f32(&[1, 1, vocab], &probs).unwrap(),
            ),
        ];
        bench.tensors(name, &tensors)
    };
    let long = odd("long.safetensors", 5000, 0.5);
    let negative = odd("negative.safetensors", 4, -0.0009);
    let cases: [(&str, &Path, &[&str]); 21] = [
        (fine, &long, &["long.safetensors", "5000 tokens"]),
        (
            fine,
            &negative,
            &["negative.safetensors", "probability of -0.0009"],
        ),
        (
            "--steps 1 --lr 1 --batch 18446744073709551615",
            &text,
            &["--batch 18446744073709551615"],
        ),
        (
            "--steps 1 --lr 1 --batch 99999999999 --length 8",
            &text,
            &["too large", "--accumulate"],
        ),
        (
            "--steps 1 --lr 1 --lora-rank 18446744073709551615",
            &data,
            &["rank 18446744073709551615"],
        ),
        (
            "--steps 1 --lr 1 --lora-rank 4000000000",
            &data,
            &["at most"],
        ),
        ("--steps 1 --lr 1 --length 1", &text, &["1 token cannot"]),
        (
            "--steps 1 --lr 1 --length 8",
            &data,
            &["--length", "recorded"],
        ),
        ("--steps 1 --lr 1 --beta 0.3", &data, &["--beta", "jsd"]),
        (
            "--steps 1 --lr 1 --source student --max-new 0",
            &text,
            &["--max-new 0"],
        ),
        (fine, &latin, &["latin.txt", "UTF-8"]),
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
