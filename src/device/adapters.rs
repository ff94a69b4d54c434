//! Which adapters there are, which one is taken, and what it offers.

use super::{Options, Timestamps};
use crate::error::{Error, Result};
use crate::shader::{Caps, CoopMatrix};

/// Bytes of params that every kernel keeps within.
const IMMEDIATE_BYTES: u32 = 64;

/// An adapter as `cascadia devices` shows it.
#[derive(Clone, Debug)]
pub struct AdapterReport {
    pub name: String,
    pub backend: String,
    /// Discrete, integrated, virtual, cpu.
    pub kind: String,
    pub driver: String,
    pub caps: Caps,
    pub timestamps: Timestamps,
}

fn instance() -> wgpu::Instance {
    // No layers unless the environment asks for them (WGPU_VALIDATION, WGPU_DEBUG), and no extra dispatch to
    // validate indirect ones, which this crate does not use.
    wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::PRIMARY.with_env(),
        flags: wgpu::InstanceFlags::empty().with_env(),
        memory_budget_thresholds: wgpu::MemoryBudgetThresholds {
            for_resource_creation: Some(95),
            for_device_loss: Some(99),
        },
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    })
}

/// Fastest kind first.
fn rank(kind: wgpu::DeviceType) -> u32 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

async fn all() -> Vec<wgpu::Adapter> {
    let mut all = instance().enumerate_adapters(wgpu::Backends::all()).await;
    all.retain(|a| a.get_info().backend != wgpu::Backend::Noop);
    all.sort_by_key(|a| rank(a.get_info().device_type));
    all
}

/// Every adapter, the one that is taken by default first.
pub fn adapters() -> Vec<AdapterReport> {
    adapters_as(&Options::default())
}

/// As [`adapters`], each with what it would offer if it were opened with `options`.
pub fn adapters_as(options: &Options) -> Vec<AdapterReport> {
    let all = pollster::block_on(all());
    let report = |a: &wgpu::Adapter| {
        let info = a.get_info();
        let (features, limits) = wanted(a, options);
        AdapterReport {
            name: info.name.clone(),
            backend: info.backend.to_string(),
            kind: format!("{:?}", info.device_type).to_lowercase(),
            driver: format!("{} {}", info.driver, info.driver_info)
                .trim()
                .to_string(),
            caps: caps(a, features, &limits, options),
            timestamps: Timestamps::of(features),
        }
    };
    all.iter().map(report).collect()
}

pub(super) async fn choose(name: Option<&str>) -> Result<wgpu::Adapter> {
    let mut found = all().await;
    if found.is_empty() {
        return Err(Error::Device(
            "no GPU adapter was found: install a Vulkan driver (on Debian and Ubuntu, \
             `apt-get install mesa-vulkan-drivers` brings one that runs on the processor)"
                .into(),
        ));
    }
    let Some(name) = name else {
        return Ok(found.swap_remove(0));
    };
    let wanted = name.to_lowercase();
    let at = (found.iter()).position(|a| a.get_info().name.to_lowercase().contains(&wanted));
    match at {
        Some(at) => Ok(found.swap_remove(at)),
        None => {
            let names: Vec<_> = found.iter().map(|a| a.get_info().name).collect();
            Err(Error::Device(format!(
                "no adapter's name contains `{name}`; there are: {}",
                names.join("; ")
            )))
        }
    }
}

/// The features and limits that a device is asked for.
pub(super) fn wanted(adapter: &wgpu::Adapter, options: &Options) -> (wgpu::Features, wgpu::Limits) {
    use wgpu::Features as F;
    let mut features = adapter.features()
        & (F::SHADER_F16
            | F::SUBGROUP
            | F::SUBGROUP_BARRIER
            | F::IMMEDIATES
            | F::TIMESTAMP_QUERY
            | F::TIMESTAMP_QUERY_INSIDE_PASSES
            | F::EXPERIMENTAL_COOPERATIVE_MATRIX);
    let without = &options.without;
    for (left_out, feature) in [
        (without.f16, F::SHADER_F16),
        (without.subgroups, F::SUBGROUP | F::SUBGROUP_BARRIER),
        (without.immediates, F::IMMEDIATES),
        (
            without.timestamps,
            F::TIMESTAMP_QUERY | F::TIMESTAMP_QUERY_INSIDE_PASSES,
        ),
        (
            without.coop || coop(adapter).is_none(),
            F::EXPERIMENTAL_COOPERATIVE_MATRIX,
        ),
    ] {
        if left_out {
            features.remove(feature);
        }
    }
    let mut limits = adapter.limits();
    limits.max_immediate_size = if features.contains(F::IMMEDIATES) {
        limits.max_immediate_size.min(IMMEDIATE_BYTES)
    } else {
        0
    };
    let lower = &options.limits;
    if let Some(n) = lower.binding_bytes {
        limits.max_storage_buffer_binding_size = limits.max_storage_buffer_binding_size.min(n);
    }
    if let Some(n) = lower.workgroup_bytes {
        limits.max_compute_workgroup_storage_size =
            limits.max_compute_workgroup_storage_size.min(n);
    }
    if let Some(n) = lower.invocations {
        let most = limits.max_compute_invocations_per_workgroup.min(n);
        limits.max_compute_invocations_per_workgroup = most;
        limits.max_compute_workgroup_size_x = limits.max_compute_workgroup_size_x.min(most);
    }
    if let Some(n) = lower.groups {
        limits.max_compute_workgroups_per_dimension =
            limits.max_compute_workgroups_per_dimension.min(n);
    }
    (features, limits)
}

/// The matrix shape that kernels use, where the adapter lists it for f16 into f32.
fn coop(adapter: &wgpu::Adapter) -> Option<CoopMatrix> {
    adapter
        .cooperative_matrix_properties()
        .into_iter()
        .find(|p| {
            (p.m_size, p.n_size, p.k_size) == (16, 16, 16)
                && p.ab_type == wgpu::CooperativeScalarType::F16
                && p.cr_type == wgpu::CooperativeScalarType::F32
        })
        .map(|p| CoopMatrix {
            m: p.m_size,
            n: p.n_size,
            k: p.k_size,
        })
}

pub(super) fn caps(
    adapter: &wgpu::Adapter,
    features: wgpu::Features,
    limits: &wgpu::Limits,
    options: &Options,
) -> Caps {
    use wgpu::Features as F;
    let info = adapter.get_info();
    let subgroups = features.contains(F::SUBGROUP);
    let f16 = features.contains(F::SHADER_F16);
    // The matrix kernels count on 32 lanes a subgroup: one subgroup's share of a tile is fixed when planned.
    // They also wait for a subgroup alone.
    let subgroups_wait = features.contains(F::SUBGROUP_BARRIER);
    let fixed =
        subgroups && subgroups_wait && info.subgroup_min_size == 32 && info.subgroup_max_size == 32;
    Caps {
        f16,
        subgroups,
        subgroup_min: if subgroups { info.subgroup_min_size } else { 0 },
        subgroup_max: if subgroups { info.subgroup_max_size } else { 0 },
        coop: if f16 && fixed && features.contains(F::EXPERIMENTAL_COOPERATIVE_MATRIX) {
            coop(adapter)
        } else {
            None
        },
        immediates: features.contains(F::IMMEDIATES)
            && limits.max_immediate_size >= IMMEDIATE_BYTES,
        max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
        max_invocations: limits
            .max_compute_invocations_per_workgroup
            .min(limits.max_compute_workgroup_size_x),
        max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_buffer_bytes: limits.max_buffer_size,
        max_groups: limits
            .max_compute_workgroups_per_dimension
            .min(options.limits.groups.unwrap_or(u32::MAX)),
        offset_alignment: limits.min_storage_buffer_offset_alignment,
        parallel: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => 128,
            wgpu::DeviceType::Cpu => 4,
            _ => 16,
        },
        software: info.device_type == wgpu::DeviceType::Cpu && !options.without.lanes,
    }
}
