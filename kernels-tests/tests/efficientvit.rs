//! EfficientViT-M0 to M5 against timm's float64 outputs, and against the published counts.

use cascadia::device::{Device, Executable};
use cascadia::graph::Finished;
use cascadia::models::efficientvit::{Config, EfficientViT, NAMES, Outputs};
use cascadia::plan::{Options, Plan};
use cascadia::shader::Caps;
use cascadia::tensor::{DType, Tensor};
use kernels_tests::harness;
use kernels_tests::references::{Reference, relative_l2};
use std::sync::Arc;

const ALL: Outputs = Outputs {
    logits: true,
    stages: true,
    attention: false,
};

/// The largest relative L2 error that is allowed.
fn allowed(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 5e-3,
        _ => 1e-5,
    }
}

fn graph(config: &Config, batch: usize, outputs: Outputs) -> Finished {
    let model = EfficientViT::new(config).unwrap_or_else(|e| panic!("{e}"));
    model
        .graph(batch, outputs)
        .unwrap_or_else(|e| panic!("{e}"))
}

fn run(reference: &Reference, device: &Device, options: &Options) -> Vec<Tensor> {
    let graph = graph(&reference.config(), reference.input[0], ALL);
    let plan = Plan::new(&graph, device.caps(), options).unwrap_or_else(|e| panic!("{e}"));
    let exe = Executable::load(device, Arc::new(plan), &reference.read())
        .unwrap_or_else(|e| panic!("{e}"));
    exe.poison();
    let out = exe
        .run(&[reference.images()])
        .unwrap_or_else(|e| panic!("{e}"));
    assert!(
        exe.guards().unwrap_or(false),
        "{}: wrote beyond a slot",
        reference.model
    );
    out
}

fn wide(t: &Tensor) -> Vec<f64> {
    t.to_f32().into_iter().map(f64::from).collect()
}

/// The worst relative L2 error of the logits and of the stages' samples.
fn error(reference: &Reference, out: &[Tensor]) -> f64 {
    let truth: Vec<f64> = reference.logits.iter().flatten().copied().collect();
    let mut worst = relative_l2(&wide(&out[3]), &truth);
    for (s, t) in out[..3].iter().enumerate() {
        let name = format!("stages.{s}");
        let feature = (reference.features.iter())
            .find(|f| f.name == name)
            .unwrap_or_else(|| panic!("{name}"));
        assert_eq!(t.shape(), feature.shape, "{name}");
        let values = wide(t);
        let n = values.len();
        let samples: Vec<f64> = (0..64).map(|k| values[k * n / 64]).collect();
        worst = worst.max(relative_l2(&samples, &feature.samples));
        let l2 = values.iter().map(|v| v * v).sum::<f64>().sqrt();
        worst = worst.max((l2 / feature.l2 - 1.0).abs());
    }
    worst
}

fn check(part: &str, fuse: bool) {
    let mut failures = Vec::new();
    for adapter in harness::adapters() {
        let device = harness::open(&adapter, false);
        for reference in Reference::efficientvit(part) {
            for dtype in [DType::F32, DType::F16] {
                if dtype == DType::F16 && !device.caps().f16 {
                    continue;
                }
                let out = run(
                    &reference,
                    &device,
                    &Options {
                        fuse,
                        ..Options::new(dtype)
                    },
                );
                let error = error(&reference, &out);
                let what = format!(
                    "{} {:?} {dtype} on {adapter}",
                    reference.model, reference.input
                );
                println!("{what}: relative L2 error {error:.2e}");
                // NaN is not below.
                if error.is_nan() || error > allowed(dtype) {
                    failures.push(format!("{what}: {error:.2e}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn m0_agrees_with_timm() {
    check("m0_224x224_seed", true);
}

#[test]
fn m1_agrees_with_timm() {
    check("m1_224x224_seed", true);
}

#[test]
fn m2_agrees_with_timm() {
    check("m2_224x224_seed", true);
}

#[test]
fn m3_agrees_with_timm() {
    check("m3_224x224_seed", true);
}

#[test]
fn m4_agrees_with_timm() {
    check("m4_224x224_seed", true);
}

#[test]
fn m5_agrees_with_timm() {
    check("m5_224x224_seed", true);
}

#[test]
fn unfused_agrees_with_timm() {
    check("m0_224x224_seed0", false);
}

#[test]
fn another_number_of_classes_agrees_with_timm() {
    check("10classes", true);
}

#[test]
fn other_sizes_agree_with_timm() {
    for size in [
        "m5_384x384",
        "m2_256x256",
        "m0_256x320",
        "m4_256x320",
        "m3_192x160",
        "m0_100x132",
    ] {
        check(size, true);
    }
}

/// (parameters, MMACs at 224) as published, recounted in the dossier of each variant's layers.
const PUBLISHED: [(u64, f64); 6] = [
    (2_349_436, 79.19),
    (2_980_560, 167.05),
    (4_187_554, 201.04),
    (6_900_722, 262.66),
    (8_804_228, 299.31),
    (12_473_772, 521.58),
];

#[test]
fn parameters_and_operations_are_the_published_ones() {
    for (name, (parameters, mmacs)) in NAMES.iter().zip(PUBLISHED) {
        let config = Config::named(name).unwrap_or_else(|| panic!("{name}"));
        let graph = graph(&config, 1, Outputs::logits());
        assert_eq!(graph.parameters(), parameters, "{name}");
        let found = (graph.macs() as f64 / 1e4).round() / 100.0;
        assert!(
            (found - mmacs).abs() < 0.006,
            "{name}: {found} MMAC, published {mmacs}"
        );
    }
}

#[test]
fn fused_plans_have_no_copies_and_few_dispatches() {
    let caps = Caps {
        f16: true,
        max_workgroup_bytes: 48 << 10,
        max_binding_bytes: 2 << 30,
        max_buffer_bytes: 4 << 30,
        parallel: 128,
        ..Caps::default()
    };
    for name in NAMES {
        let config = Config::named(name).unwrap_or_else(|| panic!("{name}"));
        let graph = graph(&config, 64, Outputs::logits());
        let options = Options::new(DType::F16);
        let plan = Plan::new(&graph, &caps, &options).unwrap_or_else(|e| panic!("{e}"));
        println!("{plan}");
        let most = if name == "m5" { 48 } else { 40 };
        assert!(
            plan.steps.len() <= most,
            "{name}: {} dispatches",
            plan.steps.len()
        );
        assert_eq!(plan.copies(), 0, "{name}");
    }
}
