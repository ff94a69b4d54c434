//! Cascaded group attention without a GPU: its modules, its memory, its choices.

use cascadia::kernels::attention::cascaded_group::{KERNEL, Shape, choose, workgroup_bytes};
use cascadia::shader::{Caps, CoopMatrix, ParamsIn, Target, compose};
use cascadia::tensor::DType;
use kernels_tests::harness::workgroup_bytes_of;
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// Every case's module, cooperative matrices too, is valid and writes SPIR-V.
#[test]
fn every_variant_validates_and_writes_spirv() {
    for case in (KERNEL.cases)() {
        let label = format!("{} {}", case.dispatch.label(), case.name);
        let target = Target::Native(ParamsIn::Immediates);
        let composed = compose(KERNEL.spec, case.variant(), target).expect(&label);
        let module = naga::front::wgsl::parse_str(&composed.text)
            .unwrap_or_else(|e| panic!("{label}: {}", e.emit_to_string(&composed.text)));
        let info = Validator::new(ValidationFlags::all(), Capabilities::all())
            .validate(&module)
            .unwrap_or_else(|e| panic!("{label}: {}", e.emit_to_string(&composed.text)));
        let options = naga::back::spv::Options {
            lang_version: (1, 6),
            ..Default::default()
        };
        naga::back::spv::write_vec(&module, &info, &options, None)
            .unwrap_or_else(|e| panic!("{label}: {e}"));
    }
}
