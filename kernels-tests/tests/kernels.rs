//! Every kernel × case on every adapter against the f64 reference, checked and unchecked.
//! `CASCADIA_KERNEL=matmul/gemm` keeps to the kernels whose stem contains it.

use cascadia::kernels::KERNELS;
use kernels_tests::harness;

#[test]
fn every_case_agrees_with_its_reference_on_every_adapter() {
    let only = std::env::var("CASCADIA_KERNEL").unwrap_or_default();
    let mut failures = Vec::new();
    for adapter in harness::adapters() {
        let (device, checked) = (
            harness::open(&adapter, false),
            harness::open(&adapter, true),
        );
        let (mut ran, mut skipped) = (0, 0);
        for kernel in KERNELS.iter().filter(|k| k.spec.stem().contains(&only)) {
            for case in (kernel.cases)() {
                if let Some(why) = harness::unsupported(&case, device.caps()) {
                    println!("skip {} on {adapter}: {why}", case.dispatch.label());
                    skipped += 1;
                    continue;
                }
                ran += 1;
                if let Err(e) = harness::check(kernel, &case, &device, &checked) {
                    failures.push(format!("{adapter}: {e}"));
                }
            }
        }
        println!("{adapter}: {ran} cases ran, {skipped} skipped");
        assert!(ran > 0, "{adapter}: no case ran");
    }
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
