//! Runs one case of every kernel × library choice, unchecked, on every adapter: for a validation layer to watch. Races
//! and accesses out of bounds are its to find; results are compared elsewhere.

use cascadia::kernels::KERNELS;
use kernels_tests::harness;
use std::collections::HashSet;

fn main() {
    // `run-cases llvmpipe` keeps to the adapters whose name contains it.
    let only = std::env::args().nth(1).unwrap_or_default();
    for adapter in harness::adapters().iter().filter(|a| a.contains(&only)) {
        let device = harness::open(adapter, false);
        let (mut seen, mut ran) = (HashSet::new(), 0);
        for kernel in KERNELS {
            for case in (kernel.cases)() {
                let mut choices = case.variant().choices.clone();
                let on_lanes = |name| choices.contains(&(name, "lanes"));
                // Their loops are written out over up to 16 rows: with the layer's checks in them a compiler takes
                // minutes. So of `skinny` one case of few rows; `wide` is the same `lane_product`, never of few.
                if on_lanes("wide") {
                    continue;
                }
                if on_lanes("skinny") {
                    choices.clear();
                }
                let kind = (kernel.spec.stem(), case.elem(), choices);
                if harness::unsupported(&case, device.caps()).is_none() && seen.insert(kind) {
                    harness::run(&device, &case);
                    ran += 1;
                }
            }
        }
        println!("{adapter}: {ran} cases ran");
    }
}
