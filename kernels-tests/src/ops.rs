//! A graph planned with and without fusing: the two must agree, on every adapter, in f32 and where there is f16 in both.

use crate::harness;
use crate::references::relative_l2;
use cascadia::device::{Device, Executable, Store};
use cascadia::graph::{Finished, Graph, Value, Weight};
use cascadia::ops::Conv;
use cascadia::plan::{Options, Plan};
use cascadia::shader::noise;
use cascadia::tensor::{DType, Format, Tensor};
use std::sync::Arc;

/// A weight of noise, the same for the same name, of the size that keeps activations about 1.
pub fn weight(name: &str, shape: &[usize]) -> Weight {
    scaled(name, shape, 1.0, 0.0)
}

/// The same values times `by`; with `centre` added to the middle of each output's.
pub fn scaled(name: &str, shape: &[usize], by: f32, centre: f32) -> Weight {
    let seed = (name.bytes()).fold(7u32, |h, b| h.wrapping_mul(31).wrapping_add(u32::from(b)));
    let each: usize = shape[1..].iter().product();
    let size = match shape.len() {
        1 => 0.2,
        _ => 0.8 / (each as f32).sqrt(),
    };
    let mut values = noise(seed, shape.iter().product());
    for (i, v) in values.iter_mut().enumerate() {
        let middle = i % each.max(1) == each / 2;
        *v = *v * size * by + if middle { centre } else { 0.0 };
    }
    let label = format!("{name} × {by} + {centre}");
    Weight::made(label, shape, Vec::new(), move |_| values.clone())
}

pub fn conv(name: &str, shape: [usize; 4], stride: usize, groups: usize) -> Conv {
    folded(name, shape, stride, groups, 1.0, 0.0)
}

pub fn folded(
    name: &str,
    shape: [usize; 4],
    stride: usize,
    groups: usize,
    by: f32,
    centre: f32,
) -> Conv {
    Conv {
        weight: scaled(&format!("{name}.weight"), &shape, by, centre),
        bias: scaled(&format!("{name}.bias"), &[shape[0]], by, 0.0),
        stride,
        padding: shape[2] / 2,
        groups,
    }
}

/// A graph, the op that it must be planned with, and memory that it reads besides its input.
pub struct Case {
    pub name: String,
    pub op: &'static str,
    pub graph: Finished,
    pub words: Vec<(&'static str, DType, Vec<u32>)>,
    /// The only element type that it is for.
    pub only: Option<DType>,
    /// Memory that is compared besides its output.
    pub kept: Option<&'static str>,
}

/// A function of a map [batch, h, w, c], or of whatever has four dimensions.
pub fn case(
    name: impl Into<String>,
    op: &'static str,
    shape: [usize; 4],
    model: impl for<'g> FnOnce(Value<'g>) -> Value<'g>,
) -> Case {
    let (name, g) = (name.into(), Graph::new());
    g.output("y", model(g.input("x", &shape)));
    Case {
        graph: g.finish().unwrap_or_else(|e| panic!("{name}: {e}")),
        name,
        op,
        words: Vec::new(),
        only: None,
        kept: None,
    }
}

/// What the plan of a case gives, and whether one of its dispatches is of the case's op.
fn run(case: &Case, device: &Device, options: &Options) -> cascadia::Result<(Vec<f64>, bool)> {
    let plan = Arc::new(Plan::new(&case.graph, device.caps(), options)?);
    let fused = plan.steps.iter().any(|s| s.op == case.op);
    let store = Store::new(device);
    for (name, dtype, words) in &case.words {
        store.make(name, *dtype, words.len())?;
        store.write(name, 0, words)?;
    }
    let inputs = (plan.inputs.iter())
        .map(|p| Tensor::from_f32(&p.layout.shape, &noise(11, p.layout.len())))
        .collect::<cascadia::Result<Vec<_>>>()?;
    let exe = Executable::load_in(&store, plan, &|s| unreachable!("{} has no source", s.name))?;
    exe.poison();
    let out = exe.run(&inputs)?;
    assert!(exe.guards()?, "{}: wrote beyond a slot", case.name);
    let kept = case.kept.map(|name| store.read(name)).transpose()?;
    let all = out.iter().chain(&kept).flat_map(Tensor::to_f32);
    Ok((all.map(f64::from).collect(), fused))
}

/// The largest relative L2 error between the forms: both round, so it is not that of the kernels' tests.
fn allowed(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 4e-3,
        _ => 2e-6,
    }
}

/// Checks both forms of `cases`.
pub fn check(cases: &[Case]) {
    check_as(cases, &[None]);
}

/// Also with weights stored in `formats`.
pub fn check_as(cases: &[Case], formats: &[Option<Format>]) {
    let mut failures = Vec::new();
    for adapter in harness::adapters() {
        let device = harness::open(&adapter, false);
        let mut fused_once = false;
        for case in cases {
            let dtypes = match device.caps().f16 {
                true => vec![DType::F32, DType::F16],
                false => vec![DType::F32],
            };
            let dtypes = dtypes
                .iter()
                .filter(|d| case.only.is_none_or(|only| only == **d));
            for (dtype, format) in dtypes.flat_map(|d| formats.iter().map(move |f| (*d, f))) {
                let mut options = Options::new(dtype);
                options.weights = format.unwrap_or(options.weights);
                let what = format!("{} {dtype} on {}", case.name, device.name());
                let (y, fused) =
                    run(case, &device, &options).unwrap_or_else(|e| panic!("{what}: {e}"));
                options.fuse = false;
                let (plain, other) =
                    run(case, &device, &options).unwrap_or_else(|e| panic!("{what}, plain: {e}"));
                assert!(!other, "{what}: the plain form is fused");
                fused_once |= fused;
                let error = relative_l2(&y, &plain);
                println!(
                    "{what}: {error:.1e}{}",
                    if fused { "" } else { " (falls back)" }
                );
                // NaN is not below.
                if y.len() != plain.len() || error.is_nan() || error > allowed(dtype) {
                    failures.push(format!("{what}: {error:.1e}"));
                }
            }
        }
        assert!(fused_once, "{}: nothing was fused", device.name());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A function of f32 rows [rows, width] in memory that is kept, as language models have them.
pub fn rows(
    name: String,
    op: &'static str,
    [rows, width]: [usize; 2],
    model: impl for<'g> FnOnce(&'g Graph, Value<'g>) -> Value<'g>,
) -> Case {
    let g = Graph::new();
    g.output("y", model(&g, g.state("x", &[rows, width], DType::F32)));
    let x = noise(5, rows * width).into_iter().map(f32::to_bits);
    Case {
        graph: g.finish().unwrap_or_else(|e| panic!("{name}: {e}")),
        name,
        op,
        words: vec![
            ("x", DType::F32, x.collect()),
            ("start", DType::U32, vec![3]),
        ],
        only: None,
        kept: None,
    }
}
