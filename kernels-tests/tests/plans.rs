//! The plans of every model as text, kept in `plans/`: a change that adds a dispatch, a copy or a byte shows in review.
//! `make plans` writes them anew. No GPU is needed: what the adapters offer is written down here.

use cascadia::engine::language::{Language, Room, embedded};
use cascadia::io::LanguageFiles;
use cascadia::models::efficientvit::{Config, EfficientViT, NAMES, Outputs};
use cascadia::plan::{Options, Plan};
use cascadia::shader::{Caps, CoopMatrix};
use cascadia::tensor::DType;
use kernels_tests::{language, snapshot};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plans")
}

/// What is planned for: the least that WebGPU guarantees, Mesa's lavapipe, and a GPU with matrix units.
fn targets() -> [(&'static str, DType, Caps); 3] {
    let lavapipe = Caps {
        f16: true,
        subgroups: true,
        subgroup_min: 8,
        subgroup_max: 8,
        immediates: true,
        max_workgroup_bytes: 32 << 10,
        max_invocations: 1024,
        max_storage_buffers: 32,
        max_buffer_bytes: 1 << 31,
        offset_alignment: 16,
        parallel: 4,
        software: true,
        ..Caps::default()
    };
    let matrix_units = Caps {
        subgroup_min: 32,
        subgroup_max: 32,
        coop: Some(CoopMatrix {
            m: 16,
            n: 16,
            k: 16,
        }),
        max_workgroup_bytes: 48 << 10,
        max_binding_bytes: 1 << 31,
        parallel: 128,
        software: false,
        ..lavapipe.clone()
    };
    [
        ("portable", DType::F32, Caps::default()),
        ("lavapipe", DType::F16, lavapipe),
        ("matrix units", DType::F16, matrix_units),
    ]
}

#[test]
fn efficientvit() {
    let mut failures = Vec::new();
    for name in NAMES {
        let config = Config::named(name).unwrap_or_else(|| panic!("{name}"));
        let mut text = String::new();
        for (target, dtype, caps) in targets() {
            for batch in [1, 8] {
                let plan = EfficientViT::new(&config)
                    .and_then(|m| m.graph(batch, Outputs::logits()))
                    .and_then(|graph| Plan::new(&graph, &caps, &Options::new(dtype)))
                    .unwrap_or_else(|e| panic!("{name}, {target}: {e}"));
                let _ = writeln!(text, "## {target}, {dtype}, batch {batch}\n\n{plan}");
            }
        }
        let path = folder().join(format!("efficientvit_{name}.txt"));
        failures.extend(snapshot::check(&path, &text).err());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A round of decoding, one that verifies four proposals, and a prefill. (A language model runs one sequence.)
fn keep_language(name: &str, files: &LanguageFiles) {
    let mut text = String::new();
    for (target, dtype, caps) in targets() {
        for tokens in [1, 5, 64] {
            let plans = Language::plans(files, tokens, &Room::of(512), &caps, &Options::new(dtype))
                .unwrap_or_else(|e| panic!("{name}, {target}: {e}"));
            for (title, plan) in plans {
                let _ = writeln!(text, "## {target}, {dtype}, tokens: {title}\n\n{plan}");
            }
        }
    }
    let path = folder().join(format!("{name}.txt"));
    snapshot::check(&path, &text).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn built_in_language_pair() {
    let [target, draft] = embedded().unwrap_or_else(|e| panic!("{e}"));
    keep_language("built_in_target", &target);
    keep_language("built_in_draft", &draft);
}

/// The layers that the built-in pair has not: grouped heads, a bias, an encoder.
const REFERENCES: [&str; 3] = ["qwen2", "t5_relu", "flan_t5_gated"];

#[test]
fn other_language_models() {
    let references = language::references(0);
    for name in REFERENCES {
        keep_language(name, &references[name].files(name, 0));
    }
}

#[test]
fn every_file_is_of_a_model() {
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap_or_else(|e| panic!("{e}"))
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    let models = (NAMES.iter().map(|n| format!("efficientvit_{n}")))
        .chain(["built_in_target".into(), "built_in_draft".into()])
        .chain(REFERENCES.map(String::from));
    let known: BTreeSet<String> = models.map(|m| format!("{m}.txt")).collect();
    let strange: Vec<_> = files.difference(&known).collect();
    assert!(strange.is_empty(), "{strange:?} belong to no model");
}
