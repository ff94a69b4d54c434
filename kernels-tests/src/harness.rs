//! Runs a kernel's case on an adapter: outputs poisoned before, guards checked after.

use crate::tolerance;
use cascadia::device::{Device, Executable, Options};
use cascadia::plan::Plan;
use cascadia::shader::{Array, Caps, Case, Kernel, Naive, Real};
use cascadia::tensor::{DType, Tensor};
use std::sync::Arc;

/// Adapters that every test with a GPU runs on: parts of their names. CASCADIA_REQUIRE_ADAPTERS, separated by
/// commas, names those that must be there; without it, whatever there is.
pub fn adapters() -> Vec<String> {
    let found: Vec<String> = cascadia::device::adapters()
        .into_iter()
        .map(|a| a.name)
        .collect();
    if let Ok(required) = std::env::var("CASCADIA_REQUIRE_ADAPTERS") {
        for name in required.split(',').filter(|n| !n.is_empty()) {
            assert!(
                found
                    .iter()
                    .any(|f| f.to_lowercase().contains(&name.to_lowercase())),
                "adapter `{name}` is required and missing; there are: {found:?}"
            );
        }
    }
    assert!(
        !found.is_empty(),
        "no GPU adapter; install mesa-vulkan-drivers"
    );
    found
}

/// An opened adapter for tests, with guards behind every slot.
pub fn open(adapter: &str, checked: bool) -> Device {
    let options = Options {
        adapter: Some(adapter.into()),
        checked,
        guard_bytes: 1024,
        ..Options::default()
    };
    Device::open(&options).unwrap_or_else(|e| panic!("{adapter}: {e}"))
}

/// Whether the case's module uses matrix units.
pub fn on_matrix_units(case: &Case) -> bool {
    case.dispatch.kernel.source.contains("coop_mat")
        || (case.variant().choices.iter()).any(|c| c.1.starts_with("coop"))
}

/// Why a case cannot run on such an adapter, if it cannot.
pub fn unsupported(case: &Case, caps: &Caps) -> Option<String> {
    let v = case.variant();
    if v.elem == DType::F16 && !caps.f16 {
        return Some("no f16".into());
    }
    if on_matrix_units(case) && caps.coop.is_none() {
        return Some("no cooperative matrices".into());
    }
    if v.choices.iter().any(|c| c.1 == "subgroup") && !caps.subgroups {
        return Some("no subgroups".into());
    }
    // What counts on a subgroup's size says it.
    let (lanes, sizes) = (v.u32("LANES"), [caps.subgroup_min, caps.subgroup_max]);
    if lanes > 0 && sizes != [lanes; 2] {
        return Some(format!("subgroups are not of {lanes}"));
    }
    if v.u32("WG") > caps.max_invocations {
        return Some(format!("{} invocations", v.u32("WG")));
    }
    let need = workgroup_bytes(case);
    if need > caps.max_workgroup_bytes {
        return Some(format!("{need} bytes of workgroup memory"));
    }
    None
}

/// Bytes of workgroup memory that the case's module declares, as naga counts them.
pub fn workgroup_bytes(case: &Case) -> u32 {
    use cascadia::shader::{ParamsIn, Target, compose};
    let target = Target::Native(ParamsIn::Uniform);
    let Ok(composed) = compose(case.dispatch.kernel, case.variant(), target) else {
        return 0;
    };
    match naga::front::wgsl::parse_str(&composed.text) {
        Ok(module) => workgroup_bytes_of(&module),
        Err(_) => 0,
    }
}

/// Bytes of all workgroup variables of a module, each rounded up to 16.
pub fn workgroup_bytes_of(module: &naga::Module) -> u32 {
    let mut layouter = naga::proc::Layouter::default();
    layouter
        .update(module.to_ctx())
        .unwrap_or_else(|e| panic!("{e}"));
    (module.global_variables.iter())
        .filter(|(_, g)| g.space == naga::AddressSpace::WorkGroup)
        .map(|(_, g)| layouter[g.ty].size.next_multiple_of(16))
        .sum()
}

/// Runs the case; returns its outputs. Panics where a guard was overwritten.
pub fn run(device: &Device, case: &Case) -> Vec<Vec<f64>> {
    let label = format!("{} {}", case.dispatch.label(), case.name);
    let plan = Arc::new(Plan::of_case(case));
    let exe = Executable::load(device, plan, &|_| unreachable!("a case has no weights"))
        .unwrap_or_else(|e| panic!("{label}: {e}"));
    let inputs: Vec<Tensor> = (case.arrays.iter()).filter_map(Array::contents).collect();
    exe.poison();
    let out = exe.run(&inputs).unwrap_or_else(|e| panic!("{label}: {e}"));
    assert!(
        exe.guards().unwrap_or_else(|e| panic!("{label}: {e}")),
        "{label}: wrote beyond its output"
    );
    out.iter()
        .map(|t| match t.dtype() {
            DType::U32 => t.to_u32().into_iter().map(f64::from).collect(),
            _ => t.to_f32().into_iter().map(f64::from).collect(),
        })
        .collect()
}

/// The inputs as the device stores them, in the reference's number type.
fn stored<R: Real>(case: &Case) -> Vec<Vec<R>> {
    let round = |v: f32| match case.elem() {
        DType::F16 => half::f16::from_f32(v).to_f32(),
        _ => v,
    };
    (case.arrays.iter())
        .map(|a| match a {
            Array::Elem(v) => v.iter().map(|&v| R::of(f64::from(round(v)))).collect(),
            Array::F32(v) | Array::ChangedF32(v) => {
                v.iter().map(|&v| R::of(f64::from(v))).collect()
            }
            _ => Vec::new(),
        })
        .collect()
}

/// Runs the case on the device and compares with the reference; `checked`, a device that compiles with all
/// runtime checks, must agree to the bit.
pub fn check(
    kernel: &Kernel,
    case: &Case,
    device: &Device,
    checked: &Device,
) -> Result<(), String> {
    let truth = (kernel.reference)(case, &stored::<f64>(case));
    let naive = (kernel.naive)(case, &stored::<Naive>(case));
    let outputs = run(device, case);
    let written: Vec<&Array> = case.arrays.iter().filter(|a| a.is_output()).collect();
    for (k, (y, truth)) in outputs.iter().zip(&truth).enumerate() {
        // Whole numbers are right or wrong: ids, counts, packed weights.
        let whole = written[k].dtype(case.elem()) == DType::U32;
        if let Some(i) = (0..truth.len()).find(|&i| whole && !truth[i].is_nan() && y[i] != truth[i])
        {
            return Err(format!(
                "{} {}: output {k} at {i}: {} for {}",
                case.dispatch.label(),
                case.name,
                y[i],
                truth[i]
            ));
        }
        let naive: Vec<f64> = naive[k].iter().map(|v| v.f64()).collect();
        tolerance::near(y, truth, &naive, case.elem())
            .map_err(|e| format!("{} {}: output {k}: {e}", case.dispatch.label(), case.name))?;
    }
    let again = run(checked, case);
    let bits = |o: &[Vec<f64>]| -> Vec<u64> { o.iter().flatten().map(|v| v.to_bits()).collect() };
    if bits(&outputs) != bits(&again) {
        return Err(format!(
            "{} {}: the checked module's result differs",
            case.dispatch.label(),
            case.name
        ));
    }
    Ok(())
}

/// The case's module as naga reads it.
pub fn module(case: &Case, params: cascadia::shader::ParamsIn) -> naga::Module {
    use cascadia::shader::{Target, compose};
    let label = case.dispatch.label();
    let composed = compose(case.dispatch.kernel, case.variant(), Target::Native(params))
        .unwrap_or_else(|e| panic!("{label}: {e}"));
    naga::front::wgsl::parse_str(&composed.text)
        .unwrap_or_else(|e| panic!("{label}: {}", e.emit_to_string(&composed.text)))
}

/// Validates the case's module and writes it for every backend that can have it: cooperative matrices exist in
/// SPIR-V only among those tried.
pub fn check_module(case: &Case, params: cascadia::shader::ParamsIn) -> Result<(), String> {
    use naga::back::{hlsl, msl, spv};
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    let module = module(case, params);
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .map_err(|e| format!("{:?}", e.into_inner()))?;
    let options = spv::Options {
        lang_version: (1, 4),
        ..Default::default()
    };
    spv::write_vec(&module, &info, &options, None).map_err(|e| format!("SPIR-V: {e}"))?;
    if on_matrix_units(case) {
        return Ok(());
    }
    let options = msl::Options {
        lang_version: (3, 0),
        fake_missing_bindings: true,
        ..Default::default()
    };
    msl::write_string(&module, &info, &options, &Default::default())
        .map_err(|e| format!("MSL: {e}"))?;
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_2,
        fake_missing_bindings: true,
        immediates_target: Some(hlsl::BindTarget::default()),
        special_constants_binding: Some(hlsl::BindTarget::default()),
        ..Default::default()
    };
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &Default::default())
        .write(&module, &info, None)
        .map_err(|e| format!("HLSL: {e}"))?;
    Ok(())
}
