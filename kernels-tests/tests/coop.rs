//! Kernels on matrix units, which no software adapter has, are computed by emulation.
//! `CASCADIA_KERNEL=conv/stem_matrix` keeps to the kernels whose stem contains it.

use cascadia::kernels::KERNELS;
use cascadia::shader::{Case, Kernel};
use kernels_tests::{emulate, harness};

fn cases() -> Vec<(&'static Kernel, Case)> {
    let only = std::env::var("CASCADIA_KERNEL").unwrap_or_default();
    (KERNELS.iter())
        .filter(|k| k.spec.stem().contains(&only))
        .flat_map(|k| (k.cases)().into_iter().map(|c| (*k, c)))
        .filter(|(_, c)| harness::on_matrix_units(c))
        .collect()
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
