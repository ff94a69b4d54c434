//! Proves that GPU-assisted validation can fail: runs one shader that is right, or has a
//! known fault, on every Vulkan adapter. `scripts/gpu-av.sh` must accept `right` and
//! report `race` (a missing `workgroupBarrier`) and `bounds` (a store beyond the buffer).
//!
//! `cargo run -p gpuav-layer --example gpuav-probe -- right|race|bounds`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

use std::error::Error;
use std::process::ExitCode;
use wgpu::{
    Adapter, Backends, BindGroupDescriptor, BindGroupEntry, BufferDescriptor, BufferUsages,
    ComputePipelineDescriptor, DeviceDescriptor, Instance, InstanceDescriptor, InstanceFlags,
    PipelineCompilationOptions, PollType, ShaderModuleDescriptor, ShaderRuntimeChecks,
    ShaderSource,
};

const SHADER: &str = "
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
const WG = 64u;
var<workgroup> tile: array<f32, WG>;
@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) i: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let at = group.x * WG + i;
    tile[i] = x[at] * 2.0;
    BARRIER
    y[at + OFFSET] = tile[WG - 1u - i];
}";
const BYTES: u64 = 4096;

fn main() -> ExitCode {
    let fault = std::env::args().nth(1).unwrap_or_default();
    if !["right", "race", "bounds"].contains(&fault.as_str()) {
        eprintln!("usage: gpuav-probe right|race|bounds");
        return ExitCode::from(2);
    }
    let source = SHADER
        .replace(
            "BARRIER",
            ["workgroupBarrier();", ""][usize::from(fault == "race")],
        )
        .replace("OFFSET", ["0u", "4096u"][usize::from(fault == "bounds")]);
    let instance = Instance::new(InstanceDescriptor {
        backends: Backends::VULKAN,
        flags: InstanceFlags::empty().with_env(),
        ..InstanceDescriptor::new_without_display_handle()
    });
    let adapters = pollster::block_on(instance.enumerate_adapters(Backends::VULKAN));
    if adapters.is_empty() {
        eprintln!("gpuav-probe: no Vulkan adapter");
        return ExitCode::from(2);
    }
    for adapter in adapters {
        let name = adapter.get_info().name;
        if let Err(error) = pollster::block_on(run(&adapter, &fault, &source)) {
            eprintln!("gpuav-probe: {name}: {error}");
            return ExitCode::from(2);
        }
        println!("gpuav-probe: ran `{fault}` on {name}");
    }
    ExitCode::SUCCESS
}

async fn run(adapter: &Adapter, label: &str, source: &str) -> Result<(), Box<dyn Error>> {
    let (device, queue) = adapter.request_device(&DeviceDescriptor::default()).await?;
    let label = Some(label);
    let source = ShaderSource::Wgsl(source.into());
    // SAFETY: none of the faults can do harm. The racing shader stores some value or another;
    // the store out of bounds is undefined, and this program exists to show that the
    // validation layer, which instruments the store away, reports it.
    let module = unsafe {
        device.create_shader_module_trusted(
            ShaderModuleDescriptor { label, source },
            ShaderRuntimeChecks::unchecked(),
        )
    };
    let pipeline = device.create_compute_pipeline(&ComputePipelineDescriptor {
        label,
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: PipelineCompilationOptions {
            constants: &[],
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    });
    let buffer = |name| {
        device.create_buffer(&BufferDescriptor {
            label: Some(name),
            size: BYTES,
            usage: BufferUsages::STORAGE,
            mapped_at_creation: false,
        })
    };
    let (x, y) = (buffer("x"), buffer("y"));
    let bindings = device.create_bind_group(&BindGroupDescriptor {
        label,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[
            BindGroupEntry {
                binding: 0,
                resource: x.as_entire_binding(),
            },
            BindGroupEntry {
                binding: 1,
                resource: y.as_entire_binding(),
            },
        ],
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bindings, &[]);
        pass.dispatch_workgroups(16, 1, 1);
    }
    queue.submit([encoder.finish()]);
    device.poll(PollType::wait_indefinitely())?;
    Ok(())
}
