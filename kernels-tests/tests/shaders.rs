//! No GPU: every kernel × variant parses, validates, agrees with its declaration, fits the limits it claims,
//! and is written as SPIR-V, MSL and HLSL.

use cascadia::kernels::{KERNELS, LIBS};
use cascadia::shader::{Access, Case, Kernel, ParamsIn, Target, compose};
use kernels_tests::harness::{self, check_module, module};
use naga::{AddressSpace, StorageAccess, TypeInner};
use std::collections::HashSet;

/// Each kernel with one case for each distinct variant of it.
fn variants() -> Vec<(&'static Kernel, Case)> {
    let mut seen = HashSet::new();
    (KERNELS.iter())
        .flat_map(|k| (k.cases)().into_iter().map(move |c| (*k, c)))
        .filter(|(_, c)| seen.insert(c.dispatch.label()))
        .collect()
}

#[test]
fn every_kernel_with_an_element_type_has_cases_in_f32_and_in_f16() {
    for kernel in KERNELS {
        let elems: HashSet<_> = (kernel.cases)().iter().map(Case::elem).collect();
        let coop = (kernel.cases)().iter().all(harness::on_matrix_units);
        let fixed = !kernel.spec.source.contains("alias elem ");
        let want = if coop || fixed { 1 } else { 2 };
        assert!(elems.len() >= want, "{}: {elems:?}", kernel.spec.stem());
    }
}

#[test]
fn declarations_agree_with_their_shaders() {
    for (kernel, case) in variants() {
        let label = case.dispatch.label();
        let module = module(&case, ParamsIn::Immediates);
        let mut binds: Vec<_> = (module.global_variables.iter())
            .filter_map(|(_, g)| {
                let access = match g.space {
                    AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => {
                        Access::Write
                    }
                    AddressSpace::Storage { .. } => Access::Read,
                    _ => return None,
                };
                Some((g.binding.as_ref()?.binding, g.name.clone()?, access))
            })
            .collect();
        binds.sort_by_key(|b| b.0);
        let found: Vec<_> = binds.iter().map(|b| (b.1.as_str(), b.2)).collect();
        let declared: Vec<_> = kernel
            .spec
            .binds
            .iter()
            .map(|b| (b.name, b.access))
            .collect();
        assert_eq!(found, declared, "{label}: bindings");
        let params =
            (module.global_variables.iter()).find(|(_, g)| g.space == AddressSpace::Immediate);
        let fields: Vec<(String, u32)> = match params.map(|(_, g)| &module.types[g.ty].inner) {
            Some(TypeInner::Struct { members, span }) => {
                assert!(*span <= 64, "{label}: params of {span} bytes");
                assert_eq!(
                    *span as usize,
                    case.dispatch.params.len(),
                    "{label}: params"
                );
                (members.iter())
                    .map(|m| (m.name.clone().unwrap_or_default(), m.offset))
                    .collect()
            }
            _ => Vec::new(),
        };
        let declared: Vec<_> = (kernel.spec.params.iter())
            .map(|p| (p.name.to_string(), p.offset))
            .collect();
        assert_eq!(fields, declared, "{label}: params");
    }
}

#[test]
fn variants_keep_within_the_limits() {
    for (kernel, case) in variants() {
        let label = case.dispatch.label();
        let module = module(&case, ParamsIn::Immediates);
        let invocations: u32 = module.entry_points[0].workgroup_size.iter().product();
        assert!(invocations <= 256, "{label}: {invocations} invocations");
        assert!(
            kernel.spec.binds.len() <= 8,
            "{label}: {} bindings",
            kernel.spec.binds.len()
        );
        let bytes = kernels_tests::harness::workgroup_bytes(&case);
        assert!(
            bytes <= 48 << 10,
            "{label}: {bytes} bytes of workgroup memory"
        );
    }
}

#[test]
fn variants_are_written_for_every_backend() {
    for (_, case) in variants() {
        for params in [ParamsIn::Immediates, ParamsIn::Uniform] {
            check_module(&case, params)
                .unwrap_or_else(|e| panic!("{}: {e}", case.dispatch.label()));
        }
    }
}

#[test]
fn web_text_differs_only_in_its_first_lines() {
    for (_, case) in variants() {
        let native = compose(
            case.dispatch.kernel,
            case.variant(),
            Target::Native(ParamsIn::Uniform),
        );
        let web = compose(case.dispatch.kernel, case.variant(), Target::Web);
        let (native, web) = (native.unwrap().text, web.unwrap().text);
        assert_eq!(
            web.replace("enable subgroups;\n", ""),
            native,
            "{}",
            case.dispatch.label()
        );
    }
}

#[test]
fn every_choice_of_every_library_is_taken_by_some_case() {
    let taken: HashSet<_> = (variants().iter())
        .flat_map(|(_, c)| c.variant().choices.clone())
        .collect();
    for lib in LIBS {
        assert!(
            taken.contains(&(lib.name, lib.choice)),
            "{} is taken by no case",
            lib.path
        );
    }
}

#[test]
fn a_constant_that_the_shader_lacks_is_an_error() {
    let (kernel, case) = variants().swap_remove(0);
    let wrong = case.variant().clone().set("NO_SUCH_CONSTANT", 1u32);
    let error = compose(kernel.spec, &wrong, Target::Web)
        .unwrap_err()
        .to_string();
    assert!(error.contains("NO_SUCH_CONSTANT"), "{error}");
}

#[test]
fn composed_lines_know_their_files() {
    let (kernel, case) = variants().swap_remove(0);
    let composed = compose(kernel.spec, case.variant(), Target::Web).unwrap();
    assert_eq!(composed.lines.len(), composed.text.lines().count());
    let at = composed
        .text
        .lines()
        .position(|l| l.starts_with("@compute"))
        .unwrap();
    let line = kernel
        .spec
        .source
        .lines()
        .position(|l| l.starts_with("@compute"))
        .unwrap();
    let origin = format!("shaders/{}:{}", kernel.spec.path, line + 1);
    assert_eq!(composed.origin(at as u32 + 1), origin);
}
