//! The rules of the tree: who may import whom, one shader for one kernel file, file sizes, where `wgpu` is named.

use cascadia::kernels::{KERNELS, LIBS};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, ending: &str, out: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, ending, out);
            } else if path.to_string_lossy().ends_with(ending) {
                out.push(path);
            }
        }
    }
    let mut out = Vec::new();
    walk(&root().join(folder), ending, &mut out);
    out.sort();
    assert!(!out.is_empty(), "no {ending} below {folder}");
    out
}

fn relative(path: &Path, to: &str) -> String {
    let base = root().join(to);
    let below = path.strip_prefix(&base).unwrap_or(path);
    below.to_string_lossy().replace('\\', "/")
}

/// For each module, those it may import. `error` is everybody's.
const LAYERS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("tensor", &[]),
    ("shader", &["tensor", "kernels"]),
    ("kernels", &["tensor", "shader"]),
    ("graph", &["tensor", "shader"]),
    ("ops", &["tensor", "shader", "kernels", "graph"]),
    ("plan", &["tensor", "shader", "kernels", "graph"]),
    ("device", &["tensor", "shader", "graph", "plan"]),
    ("io", &["tensor"]),
    ("models", &["tensor", "graph", "ops", "io"]),
    (
        "engine",
        &[
            "tensor", "shader", "kernels", "graph", "ops", "plan", "device", "io", "models",
        ],
    ),
];

#[test]
fn each_layer_imports_only_those_below_it() {
    for path in files("src", ".rs") {
        let file = relative(&path, "src");
        let Some((module, _)) = file.split_once('/') else {
            continue;
        };
        let Some((_, allowed)) = LAYERS.iter().find(|l| l.0 == module) else {
            continue;
        };
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for import in code.split("crate::").skip(1) {
                let name: String = import
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                if ["error", "Error", "Result", "kernel", module, ""].contains(&name.as_str()) {
                    continue;
                }
                // The composer looks up the files of `lib/`, which are declared beside the kernels.
                let ok = allowed.contains(&name.as_str())
                    && (module != "shader" || name != "kernels" || file == "shader/compose.rs");
                assert!(
                    ok,
                    "src/{file}:{}: {module} may not import {name}",
                    number + 1
                );
            }
        }
    }
}

#[test]
fn only_the_device_names_wgpu() {
    for path in files("src", ".rs") {
        let file = relative(&path, "src");
        let text = std::fs::read_to_string(&path).unwrap();
        let names = text.lines().any(|l| {
            let code = l.split("//").next().unwrap_or_default();
            code.contains("wgpu::")
        });
        assert!(
            !names || file.starts_with("device/"),
            "src/{file} names wgpu"
        );
    }
}

#[test]
fn every_shader_has_its_kernel_and_every_kernel_its_shader() {
    let shaders: BTreeSet<String> = files("shaders", ".wgsl")
        .iter()
        .map(|p| relative(p, "shaders"))
        .collect();
    let declared: BTreeSet<String> = (KERNELS.iter().map(|k| k.spec.path.to_string()))
        .chain(LIBS.iter().map(|l| l.path.to_string()))
        .collect();
    assert_eq!(shaders, declared);
    for kernel in KERNELS {
        let stem = kernel.spec.stem();
        let (file, folder) = (
            format!("src/kernels/{stem}.rs"),
            format!("src/kernels/{stem}/mod.rs"),
        );
        let there = [file, folder].iter().any(|f| root().join(f).exists());
        assert!(there, "{stem} has a shader and no src/kernels/{stem}.rs");
    }
}

#[test]
fn files_keep_within_their_budgets() {
    let mut over = Vec::new();
    let all = [
        ("src/models", ".rs", 200),
        ("src", ".rs", 400),
        ("kernels-tests", ".rs", 400),
        ("shaders", ".wgsl", 250),
    ];
    for (folder, ending, most) in all {
        for path in files(folder, ending) {
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            if lines > most {
                over.push(format!(
                    "{}: {lines} lines, {most} at most",
                    relative(&path, "")
                ));
            }
        }
    }
    assert!(over.is_empty(), "{}", over.join("\n"));
}
