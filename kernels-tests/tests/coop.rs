//! Kernels on matrix units, which no software adapter has: compiled to SPIR-V, and computed by emulation.
//! `CASCADIA_KERNEL=conv/stem_matrix` keeps to the kernels whose stem contains it.

use cascadia::kernels::KERNELS;
use cascadia::shader::{Case, Kernel, ParamsIn, Target, compose};
use kernels_tests::{emulate, harness};
use naga::valid::{Capabilities, ValidationFlags, Validator};

fn cases() -> Vec<(&'static Kernel, Case)> {
    let only = std::env::var("CASCADIA_KERNEL").unwrap_or_default();
    (KERNELS.iter())
        .filter(|k| k.spec.stem().contains(&only))
        .flat_map(|k| (k.cases)().into_iter().map(|c| (*k, c)))
        .filter(|(_, c)| emulate::on_matrix_units(c))
        .collect()
}

#[test]
fn every_case_on_matrix_units_compiles_to_spirv_and_fits_48_kib() {
    assert!(!cases().is_empty(), "no case uses matrix units");
    for (_, case) in cases() {
        let label = format!("{} {}", case.dispatch.label(), case.name);
        let target = Target::Native(ParamsIn::Immediates);
        let composed = compose(case.dispatch.kernel, case.variant(), target)
            .unwrap_or_else(|e| panic!("{label}: {e}"));
        let module = naga::front::wgsl::parse_str(&composed.text)
            .unwrap_or_else(|e| panic!("{label}:\n{}", e.emit_to_string(&composed.text)));
        let info = Validator::new(ValidationFlags::all(), Capabilities::all())
            .validate(&module)
            .unwrap_or_else(|e| panic!("{label}:\n{}", e.emit_to_string(&composed.text)));
        let options = naga::back::spv::Options {
            lang_version: (1, 6),
            ..Default::default()
        };
        naga::back::spv::write_vec(&module, &info, &options, None)
            .unwrap_or_else(|e| panic!("{label}: {e}"));
        let bytes = harness::workgroup_bytes_of(&module);
        assert!(
            bytes <= 48 << 10,
            "{label}: {bytes} bytes of workgroup memory"
        );
    }
}

#[test]
fn every_case_on_matrix_units_agrees_with_its_reference_when_emulated() {
    let mut failures = Vec::new();
    let mut ran = 0;
    for adapter in harness::adapters() {
        let (device, checked) = (
            harness::open(&adapter, false),
            harness::open(&adapter, true),
        );
        for (kernel, case) in cases() {
            let case = emulate::without_matrix_units(&case);
            if let Some(why) = harness::unsupported(&case, device.caps()) {
                println!("skip {} on {adapter}: {why}", case.dispatch.label());
                continue;
            }
            ran += 1;
            if let Err(e) = harness::check(kernel, &case, &device, &checked) {
                failures.push(format!("{adapter}: {e}"));
            }
        }
    }
    println!("{ran} cases ran");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
