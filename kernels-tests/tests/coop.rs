//! Kernels on matrix units are compiled here, since no software adapter runs them: parsed, validated, and
//! written as SPIR-V.

use cascadia::kernels::KERNELS;
use cascadia::shader::{Case, ParamsIn, Target, compose};
use kernels_tests::harness;
use naga::valid::{Capabilities, ValidationFlags, Validator};

#[test]
fn every_case_on_matrix_units_compiles_to_spirv_and_fits_48_kib() {
    let mut compiled = 0;
    let cases = KERNELS.iter().flat_map(|k| (k.cases)());
    let on_matrix_units = |c: &Case| {
        c.dispatch.kernel.source.contains("coop_mat")
            || c.variant().choices.iter().any(|c| c.1.starts_with("coop"))
    };
    for case in cases.filter(on_matrix_units) {
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
        compiled += 1;
    }
    assert!(compiled > 0, "no case uses matrix units");
}
