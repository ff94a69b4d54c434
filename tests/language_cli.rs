//! The commands of language models, as a user runs them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

mod common;

use cascadia::device::adapters;
use cascadia::io::Checkpoint;
use common::language::{llama, t5};
use common::{Bench, with, words};
use std::path::Path;

fn generated(bench: &Bench, line: &str) -> Vec<u64> {
    let ran = bench.works(&words(line));
    let object: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    (object["tokens"].as_array().unwrap().iter())
        .map(|t| t.as_u64().unwrap())
        .collect()
}

/// `--adapter` with the adapter of this machine that has the most invocations: software ones differ in speed.
fn adapter() -> String {
    let all = adapters();
    let best = all.iter().max_by_key(|a| a.caps.max_invocations).unwrap();
    let word = best.name.split_whitespace().next().unwrap();
    format!("--adapter {word}")
}

#[test]
fn run_writes_the_logits_of_every_position_and_sequence() {
    let bench = Bench::new();
    let model = bench.whole("llama", &llama());
    let out = bench.path("out.safetensors");
    let run = |input: &Path, model: &Path, extra: &str| {
        let line = format!("run --dtype f32 {extra} {} --model", adapter());
        let mut args = with(&line, &[model]);
        args.extend(with("--input", &[input]));
        args.extend(with("--output", &[&out]));
        bench.works(&args);
        let file = Checkpoint::open(&out).unwrap();
        assert_eq!(file.names().collect::<Vec<_>>(), ["logits"]);
        file.tensor("logits").unwrap()
    };
    let two = bench.ids("two", &[("tokens", &[2, 3], &[5, 6, 7, 5, 6, 2047])]);
    let both = run(&two, &model, "");
    assert_eq!(both.shape(), [2, 3, 2048]);
    let values = both.to_f32();
    let row = |b: usize, i: usize| &values[(b * 3 + i) * 2048..][..2048];
    assert!(values.iter().all(|v| v.is_finite()) && row(0, 0).iter().any(|v| *v != 0.0));
    // What follows does not change what stands before.
    assert_eq!(row(0, 1), row(1, 1));
    assert_ne!(row(0, 2), row(1, 2));
    let one = bench.ids("one", &[("tokens", &[1, 3], &[5, 6, 2047])]);
    assert_eq!(run(&one, &model, "").to_f32(), values[3 * 2048..]);
    let near = run(&one, &model, "--weights q8_0").to_f32();
    let error: f32 = near.iter().zip(row(1, 0)).map(|(a, b)| (a - b).abs()).sum();
    assert!(error > 0.0, "q8_0 is what was asked for");

    let t5 = bench.whole("t5", &t5());
    std::fs::remove_file(t5.join("tokenizer.json")).unwrap();
    let pair = |ids: &[i64]| {
        let decoder: (&str, &[usize], &[i64]) = ("decoder_tokens", &[1, 2], &[0, 9]);
        bench.ids("pair", &[("tokens", &[1, 4], ids), decoder])
    };
    let first = run(&pair(&[3, 4, 5, 1]), &t5, "");
    assert_eq!(first.shape(), [1, 2, 128]);
    assert_ne!(
        first,
        run(&pair(&[3, 9, 5, 1]), &t5, ""),
        "the encoder reads"
    );
}

#[test]
fn tokens_are_the_same_whatever_an_adapter_binds_at_once() {
    let bench = Bench::new();
    let line = format!("generate --json --max-new 12 --context 100 {}", adapter());
    let plain = generated(&bench, &format!("{line} --draft none"));
    assert_eq!(plain.len(), 12);
    // 128 KiB: the embedding is read in pieces, and the draft's distributions just fit.
    for extra in [
        "--limit-binding 131072",
        "--limit-binding 131072 --checked --draft-len 3",
        "--checked",
    ] {
        assert_eq!(
            generated(&bench, &format!("{line} {extra}")),
            plain,
            "{extra}"
        );
    }
    bench.fails(
        &words("generate --json --limit-binding 65536 --context 1000"),
        &["beyond the 65536"],
    );
}

#[test]
fn plans_of_language_models_are_printed() {
    let bench = Bench::new();
    let model = bench.whole("llama", &llama());
    for (tokens, part) in [("1", "one more is drawn"), ("40", "fill the caches")] {
        let ran = bench.works(&with(
            &format!("plan --portable --tokens {tokens}"),
            &[&model],
        ));
        for part in [part, "dispatches", "of states", "layers.0", "cache=cache.0"] {
            assert!(ran.out.contains(part), "{part}: {}", ran.out);
        }
    }
    let t5 = bench.whole("t5", &t5());
    let ran = bench.works(&with("plan --portable --tokens 16", &[&t5]));
    assert_eq!(ran.out.matches("memory: ").count(), 2, "{}", ran.out);
    assert!(
        bench
            .works(&words("plan --portable --tokens 1"))
            .out
            .contains("built-in")
    );
    for (line, says) in [
        ("plan --portable --tokens 0", "0 tokens"),
        ("plan --portable --tokens 65", "1 to 64"),
        ("plan --portable --tokens 8 --batch 2", "--batch"),
    ] {
        bench.fails(&with(line, &[&model]), &[says]);
    }
    bench.fails(&words("plan m0 --portable --context 9"), &["--context"]);
}
