//! GPU time of every kernel over its own cases, by timestamps: `cargo bench --bench kernels -- matmul/gemm`.
//! CASCADIA_ADAPTER names an adapter. The cases are small: they compare variants, they are no throughput.

use cascadia::device::{Device, Executable, Options, Timestamps};
use cascadia::kernels::KERNELS;
use cascadia::plan::Plan;
use cascadia::shader::Array;
use cascadia::tensor::Tensor;
use criterion::Criterion;
use std::sync::Arc;
use std::time::Duration;

fn main() -> cascadia::Result<()> {
    let device = Device::open(&Options {
        adapter: std::env::var("CASCADIA_ADAPTER").ok(),
        ..Options::default()
    })?;
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    if device.timestamps() == Timestamps::None {
        println!("{} has no timestamps", device.name());
        return Ok(());
    }
    for case in KERNELS.iter().flat_map(|k| (k.cases)()) {
        let name = format!("{} {}", case.dispatch.label(), case.name);
        criterion.bench_function(&name, |b| {
            // Loaded only where the filter takes it.
            let loaded =
                Executable::load(&device, Arc::new(Plan::of_case(&case)), &|_| Ok(Vec::new()));
            let Ok(exe) = loaded else {
                b.iter_custom(|_| Duration::from_nanos(1));
                return;
            };
            let inputs: Vec<Tensor> = (case.arrays.iter()).filter_map(Array::contents).collect();
            let ready = exe.upload(&inputs).is_ok();
            b.iter_custom(|n| {
                let times = if ready {
                    exe.time(n as usize).unwrap_or_default()
                } else {
                    Vec::new()
                };
                Duration::from_secs_f64((times.iter().sum::<f64>() * 1e-3).max(1e-9))
            });
        });
    }
    criterion.final_summary();
    Ok(())
}
