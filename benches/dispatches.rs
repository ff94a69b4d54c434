//! Every dispatch of real models alone, with a cold cache: GPU time, GB/s and TFLOP/s, and what share that is of what
//! this adapter copies and multiplies, measured first. `cargo bench --bench dispatches -- attention` keeps to labels
//! that contain a word. CASCADIA_ADAPTER names an adapter; CASCADIA_PLANS is a list of `<model>:<batch>` of EfficientViT
//! and `<target>:<tokens>` of the built-in language model (m0:1,m0:256,m5:1,m5:256,target:1,target:512 otherwise).

use cascadia::Result;
use cascadia::device::{Device, Executable, Options, Timestamps};
use cascadia::engine::ceilings::Ceilings;
use cascadia::engine::language::{Language, Room, embedded};
use cascadia::engine::profile::{median, noise_weights};
use cascadia::models::efficientvit::{Config, EfficientViT, Outputs};
use cascadia::plan::{self, Plan, Role};
use cascadia::shader::{Dispatch, noise};
use cascadia::tensor::{DType, Tensor};
use std::collections::HashSet;
use std::sync::Arc;

/// Runs of which each time is the median.
const RUNS: usize = 15;

fn plan_of(name: &str, device: &Device, options: &plan::Options) -> Result<Option<Plan>> {
    let Some((model, count)) = name.split_once(':') else {
        return Ok(None);
    };
    let Ok(count) = count.parse::<usize>() else {
        return Ok(None);
    };
    if let Some(config) = Config::named(model) {
        let graph = EfficientViT::new(&config)?.graph(count, Outputs::logits())?;
        return Plan::new(&graph, device.caps(), options).map(Some);
    }
    let [target, _] = embedded()?;
    let plans = Language::plans(&target, count, &Room::of(1024), device.caps(), options)?;
    Ok(plans.into_iter().next().map(|(_, plan)| plan))
}

/// GPU milliseconds of step `at` of `plan`, its operands in no cache.
fn alone(device: &Device, plan: &Plan, at: usize, flush: u64) -> Result<Option<f64>> {
    let one = Arc::new(plan.alone(at, flush, device.caps()));
    let exe = Executable::load(device, one.clone(), &noise_weights)?;
    let inputs = (one.inputs.iter())
        .map(|p| Tensor::from_f32(&p.layout.shape, &noise(1, p.layout.len())))
        .collect::<Result<Vec<_>>>()?;
    exe.upload(&inputs)?;
    let mut times = Vec::new();
    for _ in 0..RUNS + 2 {
        times.extend(exe.profile()?.dispatches_ms.last());
    }
    Ok(median(&mut times[2..]))
}

fn row(d: &Dispatch, count: usize, ms: f64, most: &Ceilings, matrix: bool) -> String {
    let bytes = (d.cost.read_bytes + d.cost.write_bytes) as f64 / ms * 1e3;
    let macs = d.cost.macs as f64 / ms * 1e3;
    let (ceiling, of) = match most.matrix_units.filter(|_| matrix) {
        Some(units) => (units, "matrix units"),
        None => (most.arithmetic, "arithmetic"),
    };
    format!(
        "{:9.1} µs × {count:<2} {:8.1} GB/s {:3.0} % of copy {:8.2} TFLOP/s {:3.0} % of {of:<12} {}",
        ms * 1e3,
        bytes * 1e-9,
        100.0 * bytes / most.copy,
        2.0 * macs * 1e-12,
        100.0 * macs / ceiling,
        d.label()
    )
}

fn main() -> Result<()> {
    let device = Device::open(&Options {
        adapter: std::env::var("CASCADIA_ADAPTER").ok(),
        ..Options::default()
    })?;
    if device.timestamps() == Timestamps::None {
        println!("{} has no timestamps", device.name());
        return Ok(());
    }
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let most = Ceilings::measure(&device)?;
    println!(
        "{}: copies {:.1} GB/s, multiplies and adds {:.2} TFLOP/s in f32{}",
        device.name(),
        most.copy * 1e-9,
        2e-12 * most.arithmetic,
        most.matrix_units.map_or(String::new(), |m| format!(
            ", {:.1} TFLOP/s on matrix units",
            2e-12 * m
        ))
    );
    let dtype = match device.caps().f16 {
        true => DType::F16,
        false => DType::F32,
    };
    let options = plan::Options::new(dtype);
    // Beyond any adapter's last cache; a software adapter's is smaller, and it is slow.
    let flush = match device.caps().parallel {
        0..16 => 64 << 20,
        _ => 256 << 20,
    };
    let names = std::env::var("CASCADIA_PLANS")
        .unwrap_or("m0:1,m0:256,m5:1,m5:256,target:1,target:512".into());
    for name in names.split(',') {
        let Some(plan) = plan_of(name, &device, &options)? else {
            println!("\n{name}: expected <model>:<count>");
            continue;
        };
        println!("\n{name}, {dtype}");
        let mut seen = HashSet::new();
        for (at, step) in plan.steps.iter().enumerate() {
            let d = &step.dispatch;
            let key = |d: &Dispatch| (d.label(), d.grid);
            if !seen.insert(key(d)) || filter.as_ref().is_some_and(|f| !d.label().contains(f)) {
                continue;
            }
            let count = (plan.steps.iter())
                .filter(|s| key(&s.dispatch) == key(d))
                .count();
            // What reads a sequence's state, and so takes as long as that says, is for the bench of language models.
            if d.args
                .iter()
                .any(|a| matches!(plan.buffers[a.0].role, Role::State(_)))
            {
                continue;
            }
            let label = d.label();
            let matrix = label.contains("coop") || label.contains("matrix");
            match alone(&device, &plan, at, flush)? {
                Some(ms) if ms > 0.0 => println!("{}", row(d, count, ms, &most, matrix)),
                _ => println!("   no time   {label}"),
            }
        }
    }
    Ok(())
}
