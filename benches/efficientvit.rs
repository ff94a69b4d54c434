//! GPU time of whole plans of EfficientViT-M0 and M5, fused and unfused, by timestamps. Weights and images are noise.
//! CASCADIA_ADAPTER names an adapter, CASCADIA_BATCHES the batch sizes (1,64 otherwise).

use cascadia::device::{Device, Executable, Options, Timestamps};
use cascadia::engine::profile::noise_weights;
use cascadia::models::efficientvit::{Config, EfficientViT, Outputs};
use cascadia::plan::{self, Plan};
use cascadia::shader::noise;
use cascadia::tensor::{DType, Tensor};
use criterion::{Criterion, Throughput};
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
    let dtype = if device.caps().f16 {
        DType::F16
    } else {
        DType::F32
    };
    let batches = std::env::var("CASCADIA_BATCHES").unwrap_or("1,64".into());
    for name in ["m0", "m5"] {
        for batch in batches.split(',').filter_map(|b| b.parse::<usize>().ok()) {
            for fuse in [true, false] {
                let Some(config) = Config::named(name) else {
                    continue;
                };
                let graph = EfficientViT::new(&config)?.graph(batch, Outputs::logits())?;
                let plan = Plan::new(
                    &graph,
                    device.caps(),
                    &plan::Options {
                        fuse,
                        ..plan::Options::new(dtype)
                    },
                )?;
                let exe = Executable::load(&device, Arc::new(plan), &noise_weights)?;
                let images = noise(1, batch * 3 * 224 * 224);
                exe.upload(&[Tensor::from_f32(&[batch, 3, 224, 224], &images)?])?;
                let how = if fuse { "fused" } else { "unfused" };
                let mut group =
                    criterion.benchmark_group(format!("efficientvit_{name}/{dtype}/{how}"));
                group.throughput(Throughput::Elements(batch as u64));
                group.bench_function(format!("batch {batch}"), |b| {
                    b.iter_custom(|n| {
                        let times = exe.time(n as usize).unwrap_or_default();
                        Duration::from_secs_f64(times.iter().sum::<f64>() * 1e-3)
                    })
                });
                group.finish();
            }
        }
    }
    criterion.final_summary();
    Ok(())
}
