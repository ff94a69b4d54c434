//! Who is at fault: a file, which the message names (1), or the command line (2).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

mod common;

use cascadia::io::save;
use cascadia::tensor::Tensor;
use common::{Bench, fixture, weights, with};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The built-in model with this metadata.
fn described(bench: &Bench, name: &str, key: &str, value: &str) -> PathBuf {
    let path = bench.path(name);
    let metadata = BTreeMap::from([(key.to_string(), value.to_string())]);
    save(&path, &weights(), Some(&metadata)).unwrap();
    path
}

#[test]
fn metadata_that_cannot_be_honoured() {
    let bench = Bench::new();
    let picture = fixture("rgb.png");
    for (key, value, says) in [
        (
            "labels",
            r#"["a", "b"]"#,
            "names 2 classes, and the model has 10",
        ),
        ("labels", "[1]", "JSON array of strings"),
        ("interpolation", "lanczos", "bicubic or bilinear"),
        (
            "architecture",
            "efficientvit_m5",
            "those of EfficientViT-M0",
        ),
        ("architecture", "resnet50", "\"resnet50\""),
        ("input_size", "0", "0×0"),
        ("crop_pct", "2", "`crop_pct`"),
        ("std", "[0, 1, 1]", "`std`"),
    ] {
        let path = described(&bench, "w.safetensors", key, value);
        let args = with("classify --model", &[&path, &picture]);
        bench.refuses(1, &args, &["w.safetensors: metadata ", key, says]);
    }
    for (key, value) in [
        ("interpolation", "bilinear"),
        ("architecture", "efficientvit_m0.r224_in1k"),
    ] {
        let path = described(&bench, "w.safetensors", key, value);
        bench.works(&with("classify --size 32 --model", &[&path, &picture]));
    }
}

#[test]
fn labels_and_names_do_not_reach_the_terminal_raw() {
    let bench = Bench::new();
    let labels: Vec<String> = (0..10).map(|i| format!("\u{1b}[31m\n{i}")).collect();
    let labels = serde_json::to_string(&labels).unwrap();
    let path = described(&bench, "w.safetensors", "labels", &labels);
    let ran = bench.works(&with(
        "classify --size 32 --top-k 1 --model",
        &[&path, &fixture("rgb.png")],
    ));
    assert!(ran.out.contains(r": \u{1b}[31m\n"), "{ran:?}");
    assert_eq!(ran.out.lines().count(), 1, "{ran:?}");
    let mut tensors = weights();
    tensors.push(("head.\u{1b}[31m\nmore".into(), tensors[0].1.clone()));
    let path = bench.tensors("more.safetensors", &tensors);
    let args = with("classify --model", &[&path, &fixture("rgb.png")]);
    bench.refuses(1, &args, &[r"unknown: `head.\u{1b}[31m\nmore`"]);
}

#[test]
fn numbers_that_no_model_can_run_on() {
    let bench = Bench::new();
    let all = weights();
    let picture = fixture("rgb.png");
    for (name, value, says) in [
        ("head.bn.running_var", -1.0, "no variance is negative"),
        ("head.bn.bias", f32::NAN, "NaN at element 1"),
        (
            "head.linear.weight",
            1e37,
            "w.safetensors: the model's scores are not finite in f32",
        ),
    ] {
        let mut tensors = all.clone();
        let at = (tensors.iter()).position(|t| t.0 == name);
        let tensor = &mut tensors[at.unwrap()].1;
        let mut values = tensor.to_f32();
        values[1..].fill(value);
        *tensor = Tensor::from_f32(tensor.shape(), &values).unwrap();
        let path = bench.tensors("w.safetensors", &tensors);
        let args = with("classify --size 32 --dtype f32 --model", &[&path, &picture]);
        bench.refuses(1, &args, &["w.safetensors: ", says]);
    }
}

#[test]
fn inputs_of_run_that_hold_no_pictures() {
    let bench = Bench::new();
    let out = bench.path("out.safetensors");
    let weights = bench.tensors("w.safetensors", &weights());
    let run = |input: &Path, says: &str| {
        let mut args = with("run --weights", &[&weights]);
        args.extend(with("--input", &[input]));
        args.extend(with("--output", &[&out]));
        bench.refuses(1, &args, &["x.safetensors: ", says]);
    };
    let small = bench.input("x.safetensors", &[1, 3, 10, 224]);
    run(&small, "`x`: an input of 10×224");
    for value in [f32::NAN, f32::NEG_INFINITY] {
        let mut values = vec![0.0; 2 * 3 * 16 * 16];
        values[16 * 16 * 4 + 16 * 5 + 7] = value;
        let x = Tensor::from_f32(&[2, 3, 16, 16], &values).unwrap();
        let path = bench.tensors("x.safetensors", &[("x".into(), x)]);
        run(&path, &format!("`x` [1, 1, 5, 7] is {value}"));
    }
    assert!(!out.exists());
}

#[test]
fn outputs_that_are_inputs_or_cannot_be_written() {
    let bench = Bench::new();
    let picture = bench.picture("a.png", 4, 4);
    let weights = bench.tensors("w.safetensors", &weights());
    let x = bench.input("x.safetensors", &[1, 3, 16, 16]);
    let before = [&picture, &weights, &x].map(|p| std::fs::read(p).unwrap());
    let dotted = bench.path("./x.safetensors");
    let run = |to: &Path| {
        let mut args = with("run --weights", &[&weights]);
        args.extend(with("--input", &[&x]));
        args.extend(with("--output", &[to]));
        args
    };
    let attention = |to: &Path| with("classify --attention", &[to, &picture]);
    let page = |to: &Path| with("profile m0 --weights", &[&weights, "--html".as_ref(), to]);
    for args in [
        run(&dotted),
        run(&weights),
        attention(&picture),
        page(&weights),
    ] {
        bench.refuses(2, &args, &["is an input of this command"]);
    }
    let other = bench.path("a.jpg");
    bench.refuses(2, &attention(&other), &["a.jpg", "ends in .png"]);
    let nowhere = bench.path("no/such/a.png");
    for args in [run(&nowhere), attention(&nowhere), page(&nowhere)] {
        bench.refuses(1, &args, &["no/such/a.png: No such file or directory"]);
    }
    assert_eq!(
        before,
        [&picture, &weights, &x].map(|p| std::fs::read(p).unwrap())
    );
}

#[test]
fn class_folders_of_which_one_is_none() {
    let bench = Bench::new();
    for name in ["0", "1", "2", "3", "4", "5", "6", "8", "9", "cat"] {
        bench.picture(&format!("set/{name}/a.png"), 4, 4);
    }
    let args = with("evaluate", &[&bench.path("set")]);
    bench.refuses(1, &args, &["set: ", "the folder `cat`", "`0` is a label"]);
}
