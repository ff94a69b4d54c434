//! `cascadia osd`: a tiny experiment, its files and their columns.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

mod common;

use cascadia::tensor::Tensor;
use common::{Bench, with};
use std::path::{Path, PathBuf};

/// A Llama of noise with the built-in tokenizer.
fn model(bench: &Bench, name: &str, width: usize) -> PathBuf {
    let (heads, inner, vocab) = (width / 16, 2 * width, 2048);
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocab, "hidden_size": width,
        "intermediate_size": inner, "num_hidden_layers": 1, "num_attention_heads": heads, "num_key_value_heads": heads,
        "head_dim": 16, "hidden_act": "silu", "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 1
    });
    bench.file(
        &format!("{name}/config.json"),
        config.to_string().as_bytes(),
    );
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/language/draft");
        bench.file(
            &format!("{name}/{file}"),
            &std::fs::read(own.join(file)).unwrap(),
        );
    }
    let tensor = |shape: &[usize], salt: usize| {
        let n: usize = shape.iter().product();
        let noise = |i: usize| ((i * 2_654_435 + salt * 97) % 1009) as f32 / 1009.0 - 0.5;
        let values: Vec<f32> = match shape.len() {
            1 => vec![1.0; n],
            _ => (0..n).map(|i| 0.4 * noise(i)).collect(),
        };
        Tensor::from_f32(shape, &values).unwrap()
    };
    let layer = "model.layers.0.";
    let mut tensors = vec![
        (
            "model.embed_tokens.weight".into(),
            tensor(&[vocab, width], 1),
        ),
        ("model.norm.weight".into(), tensor(&[width], 2)),
    ];
    for (i, (name, shape)) in [
        ("input_layernorm", vec![width]),
        ("post_attention_layernorm", vec![width]),
        ("self_attn.q_proj", vec![width, width]),
        ("self_attn.k_proj", vec![width, width]),
        ("self_attn.v_proj", vec![width, width]),
        ("self_attn.o_proj", vec![width, width]),
        ("mlp.gate_proj", vec![inner, width]),
        ("mlp.up_proj", vec![inner, width]),
        ("mlp.down_proj", vec![width, inner]),
    ]
    .into_iter()
    .enumerate()
    {
        tensors.push((format!("{layer}{name}.weight"), tensor(&shape, 3 + i)));
    }
    bench.tensors(&format!("{name}/model.safetensors"), &tensors);
    bench.path(name)
}

/// The arguments of a stream with these arms on models of noise.
fn line(bench: &Bench, stream: &str, arms: &[&str], more: &str) -> Vec<std::ffi::OsString> {
    let (target, draft) = (model(bench, "target", 32), model(bench, "draft", 16));
    let mut args = with(
        &format!(
            "osd --quick --requests 4 --max-new 4 --draft-len 2 --temperature 0 --dtype f32 --update-steps 1 \
             --stream {stream} --arm {} {more}",
            arms.join(",")
        ),
        &[],
    );
    for (flag, path) in [
        ("--target", &target),
        ("--draft", &draft),
        ("--output", &bench.path("results")),
    ] {
        args.extend([flag.into(), path.clone().into()]);
    }
    args
}

/// Runs them; what was printed, the folder, its summary.
fn experiment(bench: &Bench, stream: &str, arms: &[&str], figure: &str) -> String {
    let out = bench.path("results");
    let ran = bench.works(&line(bench, stream, arms, ""));
    let head = "criterion (acceptance by overlap) | measured | holds";
    assert_eq!(ran.out.lines().next(), Some(head), "{ran:?}");
    let (table, after): (Vec<&str>, Vec<&str>) = ran
        .out
        .lines()
        .partition(|line| line.split(" | ").count() == 3);
    // Before and after in a line, where a draft that learns stands beside one that does not.
    let learns = arms.iter().any(|a| a.starts_with("online"));
    let gains = format!("{stream}: acceptance ");
    assert_eq!(after.len(), usize::from(learns), "{ran:?}");
    assert!(after.iter().all(|line| line.starts_with(&gains)), "{ran:?}");
    for arm in arms {
        columns(&out, stream, arm);
    }
    let text = std::fs::read_to_string(out.join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(summary["measure"], "overlap");
    assert_eq!(summary["runs"].as_array().unwrap().len(), arms.len());
    let criteria = summary["criteria"].as_array().unwrap();
    assert_eq!(criteria.len(), table.len() - 1);
    assert_eq!(summary["figures"], serde_json::json!([figure]));
    let text = std::fs::read_to_string(out.join(figure)).unwrap();
    assert!(text.starts_with("<svg") && text.contains(arms[1]), "{text}");
    ran.out
}

/// Checks the CSV of an arm.
fn columns(out: &Path, stream: &str, arm: &str) {
    let name = format!("{stream}.{arm}.seed0.csv");
    let text = std::fs::read_to_string(out.join(&name)).unwrap();
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    assert_eq!(columns.len(), 14, "{name}");
    let at = |of: &str| columns.iter().position(|c| *c == of).unwrap();
    let rows: Vec<Vec<&str>> = lines.map(|l| l.split(',').collect()).collect();
    assert_eq!(rows.len(), 4, "{name}");
    for row in &rows {
        assert_eq!(row.len(), 14, "{name}: {row:?}");
        let drafted = arm != "plain";
        assert_eq!(row[at("proposed")] != "0", drafted, "{name}: {row:?}");
        assert_eq!(row[at("overlap")].is_empty(), !drafted, "{name}: {row:?}");
    }
    let seconds = |r: &Vec<&str>| r[at("update_seconds")].parse::<f64>().unwrap();
    let updates: f64 = rows.iter().map(seconds).sum();
    assert_eq!(updates > 0.0, arm == "online-1", "{name}: {updates} s");
}

const SAME: &str = "every arm's answers are the target's own, token by token (temperature 0) | 0 answers differ | yes";

#[test]
fn a_tiny_experiment_leaves_its_tables_and_figures() {
    let bench = Bench::new();
    let out = experiment(
        &bench,
        "math",
        &["plain", "static", "static-10"],
        "figure3.svg",
    );
    assert!(out.lines().any(|line| line == SAME), "{out}");
    // What is there is not done again, and nothing of other settings is taken for it.
    let arms = ["plain", "static", "static-10"];
    let again = bench.works(&line(&bench, "math", &arms, "--resume"));
    assert_eq!(again.out, out);
    assert!(!again.err.contains("static"), "{again:?}");
    let other = line(&bench, "math", &arms, "--resume --lr 0.5");
    bench.fails(&other, &["math.plain.seed0.json", "other settings"]);
}

#[test]
fn a_draft_that_learns_changes_no_answer() {
    let bench = Bench::new();
    let out = experiment(
        &bench,
        "interleaved",
        &["static", "online-1"],
        "figure9.svg",
    );
    assert!(out.lines().any(|line| line == SAME), "{out}");
    // Nor one that cannot learn by such a rate: all of it is taken back.
    let args = line(&bench, "interleaved", &["online-1"], "--lr 1e30");
    let ran = bench.works(&args);
    assert!(ran.out.lines().any(|line| line == SAME), "{ran:?}");
    let path = bench.path("results/interleaved.online-1.seed0.json");
    let run: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(run["updates"], 0, "{ran:?}");
    assert_ne!(run["updates_rolled_back"], 0, "{ran:?}");
}

#[test]
fn a_draft_for_each_domain_changes_no_answer() {
    let bench = Bench::new();
    let arms = ["static", "online-8", "routed"];
    let out = experiment(&bench, "mixed", &arms, "figure6.svg");
    assert!(out.lines().any(|line| line == SAME), "{out}");
    let compared = "one draft per domain is no worse than one for all";
    let line = out.lines().find(|l| l.starts_with(compared));
    // There are fewer requests than an update waits for.
    let said = "not measured: nothing was learned";
    assert!(line.is_some_and(|l| l.contains(said)), "{out}");
}

#[test]
fn what_cannot_be_measured_is_said_in_a_line() {
    let bench = Bench::new();
    let out = bench.path("results");
    bench.file("empty/none.md", b"");
    bench.file("short/one.txt", b"a single line\n");
    bench.file("nothing/zero.txt", b"");
    let fails = |words: &str, path: &[&Path], said: &[&str]| {
        let mut args = with(&format!("osd {words}"), path);
        args.extend(["--output".into(), out.clone().into()]);
        bench.fails(&args, said);
    };
    fails("--stream finance", &[], &["finance", "stationary, rust"]);
    fails("--arm medusa", &[], &["medusa", "static-10"]);
    fails("--requests 1", &[], &["--requests 1", "4"]);
    fails("--draft-len off", &[], &["--draft-len off"]);
    fails("--lr NaN", &[], &["learning rate", "NaN"]);
    fails("--temperature -1", &[], &["temperature"]);
    fails("--data", &[&bench.path("empty")], &["no .txt"]);
    fails("--data", &[&bench.path("short")], &["one.txt", "two lines"]);
    fails(
        "--data",
        &[&bench.path("nothing")],
        &["zero.txt", "two lines"],
    );
    assert!(!out.exists());
}
