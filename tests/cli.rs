//! The commands, as a user runs them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

mod common;

use cascadia::device::adapters;
use cascadia::io::Checkpoint;
use common::{Bench, fixture, weights, with, words};

fn json(text: &str) -> Vec<serde_json::Value> {
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

/// The label that the built-in model gives the first picture of a command's output.
fn label(out: &str) -> String {
    json(out)[0]["predictions"][0]["label"]
        .as_str()
        .unwrap()
        .to_string()
}

#[test]
fn classify_names_the_likeliest_classes_on_every_adapter() {
    let bench = Bench::new();
    let picture = fixture("rgb.png");
    let mut labels = Vec::new();
    let poor = "--limit-binding 134217728 --limit-workgroup 16384 --limit-invocations 256";
    for (i, adapter) in adapters().into_iter().enumerate() {
        for extra in ["", poor, "--checked"]
            .iter()
            .take(if i == 0 { 3 } else { 2 })
        {
            let mut args = with(
                &format!("classify --json --top-k 2 --size 32 --dtype f32 {extra}"),
                &[&picture],
            );
            args.extend(["--adapter".into(), adapter.name.clone().into()]);
            let ran = bench.works(&args);
            let all = json(&ran.out);
            assert_eq!(all.len(), 1, "{ran:?}");
            assert_eq!(all[0]["predictions"].as_array().unwrap().len(), 2);
            let told = ran.err.contains("images/s") && ran.err.contains(&adapter.name);
            assert!(told, "{ran:?}");
            labels.push(label(&ran.out));
        }
    }
    assert!(labels.iter().all(|l| *l == labels[0]), "{labels:?}");
}

#[test]
fn classify_takes_folders_and_draws_attention() {
    let bench = Bench::new();
    bench.picture("all/a.png", 40, 30);
    bench.picture("all/deep/er/b.png", 30, 40);
    bench.file("all/.hidden", b"not a picture");
    let ran = bench.works(&with(
        "classify --size 32x48 --batch 1",
        &[&bench.path("all")],
    ));
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert!(
        lines[0].contains("a.png: ") && lines[1].contains("b.png: "),
        "{ran:?}"
    );
    assert!(
        ran.err.contains("2 pictures") && ran.err.contains("32×48"),
        "{ran:?}"
    );

    let (one, drawn) = (bench.path("all/a.png"), bench.path("attention.png"));
    bench.works(&with(
        "classify --size 64",
        &[&one, "--attention".as_ref(), &drawn],
    ));
    let picture = cascadia::io::preprocess::Picture::open(&drawn).unwrap();
    // Six blocks of four heads, tiles of 64 with 4 between.
    assert_eq!(
        (picture.width(), picture.height()),
        (4 * 68 + 4, 6 * 68 + 4)
    );
}

#[test]
fn run_writes_logits_and_features() {
    let bench = Bench::new();
    let weights = bench.tensors("w.safetensors", &weights());
    let x = bench.input("x.safetensors", &[2, 3, 64, 96]);
    let out = bench.path("out.safetensors");
    let flag = |name: &str| name.into();
    let mut args = words("run --model m0 --features --dtype f32 --weights");
    args.extend(
        [weights, flag("--input"), x, flag("--output"), out.clone()]
            .map(|p| p.display().to_string()),
    );
    bench.works(&args);
    let file = Checkpoint::open(&out).unwrap();
    for (name, shape) in [
        ("logits", &[2, 10][..]),
        ("stage0", &[2, 64, 4, 6]),
        ("stage1", &[2, 128, 2, 3]),
        ("stage2", &[2, 192, 1, 2]),
    ] {
        assert_eq!(file.shape(name), Some(shape), "{name}");
        let values = file.tensor(name).unwrap().to_f32();
        assert!(
            values.iter().all(|v| v.is_finite()) && values.iter().any(|v| *v != 0.0),
            "{name}"
        );
    }
    // Without --model the weights tell, and without --features there are only logits.
    args.retain(|a| a != "--features" && a != "--model" && a != "m0");
    bench.works(&args);
    let again = Checkpoint::open(&out).unwrap();
    assert_eq!(again.names().collect::<Vec<_>>(), ["logits"]);
    let values = |c: &Checkpoint| c.tensor("logits").unwrap().to_f32();
    for (a, b) in values(&file).iter().zip(values(&again)) {
        assert!((a - b).abs() <= 1e-3 * (1.0 + b.abs()), "{a} {b}");
    }
}

#[test]
fn evaluate_counts_what_classify_says() {
    let bench = Bench::new();
    let (a, b) = (
        bench.picture("a.png", 40, 30),
        bench.picture("b.png", 9, 70),
    );
    let said = |p| label(&bench.works(&with("classify --json --size 32", &[p])).out);
    let (right, other) = (said(&a), said(&b));
    let wrong = if other == "0" { "1" } else { "0" };
    let put = |class: &str, name: &str, from| {
        bench.file(
            &format!("set/{class}/{name}"),
            &std::fs::read(from).unwrap(),
        );
    };
    put(&right, "a.png", &a);
    put(wrong, "b.png", &b);
    let args = with("evaluate --size 32", &[&bench.path("set")]);
    let ran = bench.works(&args);
    assert!(ran.out.contains("top-1 50.00% (1 of 2)"), "{ran:?}");
    bench.file("set/3/broken.jpg", b"\xff\xd8\xff\xe0 nothing more");
    let ran = bench.run(&args);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err.contains("broken.jpg") && ran.out.contains("(1 of 2)"),
        "{ran:?}"
    );
}

#[test]
fn plan_and_profile_need_no_weights() {
    let bench = Bench::new();
    let portable = bench.works(&words("plan M5 --batch 8 --portable"));
    for part in [
        "batch 8",
        "dispatches",
        "copies",
        "memory:",
        "output logits",
    ] {
        assert!(portable.out.contains(part), "{part}");
    }
    let half = bench.works(&words("plan m0 --portable --dtype f16"));
    assert!(half.out.contains("any WebGPU adapter with f16"), "{half:?}");
    let parts = bench.works(&words("plan m0 --batch 2048 --portable"));
    let says = "batch 128 (of 2048, which is run in 16 parts)";
    assert!(parts.out.contains(says), "{}", &parts.out[..200]);
    let count = |line: &str| bench.works(&words(line)).out.lines().count();
    assert!(count("plan m0 --unfused --size 64") > count("plan m0 --size 64"));

    let page = bench.path("page.html");
    let ran = bench.works(&with("profile m0 --size 32 --runs 1 --html", &[&page]));
    for part in ["matmul", "unfused", "whole plan, GPU", "submit to logits"] {
        assert!(ran.out.contains(part), "{part}");
    }
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert!(page.contains("<svg") && page.contains("<rect"));
    assert!(page.contains(">attention</text>") && !page.contains(">sample</text>"));
    assert!(
        !page.contains("http") && !page.contains("<script"),
        "self-contained"
    );
}

#[test]
fn devices_lists_every_adapter_and_what_kernels_get() {
    let bench = Bench::new();
    let ran = bench.works(&["devices"]);
    for adapter in adapters() {
        assert!(ran.out.contains(&adapter.name), "{}", adapter.name);
        let one = bench.works(&["devices", "--adapter", &adapter.name]).out;
        let f16 = one
            .lines()
            .find(|l| l.trim_start().starts_with("f16 "))
            .unwrap();
        assert_eq!(f16.ends_with("yes"), adapter.caps.f16, "{one}");
    }
    let limited = bench.works(&["devices", "--limit-binding", "2000001"]).out;
    assert!(
        limited.contains("storage buffers of 2000001 bytes"),
        "{limited}"
    );
    for kernel in cascadia::kernels::KERNELS {
        assert!(
            ran.out.contains(kernel.spec.stem()),
            "{}",
            kernel.spec.stem()
        );
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let bench = Bench::new();
    let mut command = bench.command(&words("plan m5 --portable --unfused"));
    let mut child = (command.stdout(std::process::Stdio::piped()))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

#[test]
fn help_and_version_are_on_stdout() {
    let bench = Bench::new();
    assert!(bench.works(&["--help"]).out.contains("classify"));
    assert!(
        bench
            .works(&["classify", "--help"])
            .out
            .contains("--adapter")
    );
    assert!(
        bench
            .works(&["--version"])
            .out
            .contains(env!("CARGO_PKG_VERSION"))
    );
    let none: [&str; 0] = [];
    assert_eq!(bench.run(&none).code, Some(2));
}
