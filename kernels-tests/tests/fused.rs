//! The fused kernels' choices for every layer of EfficientViT-M0 to M5, without a GPU: they fit the adapter, claim
//! the workgroup memory that their modules declare, and compile.

use cascadia::kernels::conv::{expand_depthwise, stem, stem_matrix};
use cascadia::kernels::ffn::{depthwise_ffn, depthwise_ffn_matrix};
use cascadia::shader::{Arg, Caps, Case, CoopMatrix, Dispatch, ParamsIn};
use cascadia::tensor::DType;
use kernels_tests::harness;
use std::collections::HashSet;

const WIDTHS: [[usize; 3]; 6] = [
    [64, 128, 192],
    [128, 144, 192],
    [128, 192, 224],
    [128, 240, 320],
    [128, 256, 384],
    [192, 288, 384],
];
const MAPS: [[usize; 2]; 3] = [[14, 14], [7, 7], [4, 4]];

fn nvidia() -> Caps {
    Caps {
        f16: true,
        subgroups: true,
        subgroup_min: 32,
        subgroup_max: 32,
        coop: Some(CoopMatrix {
            m: 16,
            n: 16,
            k: 16,
        }),
        max_workgroup_bytes: 48 << 10,
        max_invocations: 1024,
        parallel: 128,
        ..Caps::default()
    }
}

fn adapters() -> Vec<(DType, Caps)> {
    let plain = |elem, kib: u32, parallel| {
        let caps = Caps {
            f16: elem == DType::F16,
            max_workgroup_bytes: kib << 10,
            parallel,
            ..Caps::default()
        };
        (elem, caps)
    };
    vec![
        (DType::F16, nvidia()),
        (DType::F32, nvidia()),
        plain(DType::F16, 32, 16),
        plain(DType::F16, 16, 128),
        plain(DType::F32, 32, 4),
        plain(DType::F32, 16, 16),
    ]
}

/// The module of `dispatch` compiles, and takes `claimed` bytes of workgroup memory and what `caps` allow.
fn check(dispatch: Dispatch, claimed: usize, caps: &Caps, seen: &mut HashSet<String>) {
    let label = dispatch.label();
    assert!(
        dispatch.variant.u32("WG") <= caps.max_invocations,
        "{label}"
    );
    assert!(
        dispatch.grid.iter().all(|g| *g <= caps.max_groups),
        "{label}"
    );
    assert!(claimed <= caps.max_workgroup_bytes as usize, "{label}");
    if !seen.insert(label.clone()) {
        return;
    }
    let case = Case {
        name: String::new(),
        dispatch,
        arrays: Vec::new(),
    };
    let declared = harness::workgroup_bytes(&case) as usize;
    assert_eq!(claimed, declared, "{label}: bytes of workgroup memory");
    harness::check_module(&case, ParamsIn::Immediates).unwrap_or_else(|e| panic!("{label}: {e}"));
}

#[test]
fn stems_fit_every_adapter() {
    let mut seen = HashSet::new();
    for (elem, caps) in adapters() {
        for (widths, size) in WIDTHS.iter().flat_map(|w| [(w, 224), (w, 37), (w, 1)]) {
            for batch in [1, 2048] {
                let s = stem::Stem {
                    batch,
                    h: size,
                    w: size,
                    mid: widths[0] / 8,
                    out: widths[0] / 4,
                };
                let [x, w1, b1, w2, b2, y] = [0, 1, 2, 3, 4, 5].map(Arg);
                let tile = stem::choose(&s, elem, &caps).expect("a tile");
                let binds = stem::Binds {
                    x,
                    w1,
                    b1,
                    w2,
                    b2,
                    y,
                };
                let bytes = stem::workgroup_bytes(&s, elem, tile);
                let d = stem::dispatch(&s, elem, tile, binds, &caps);
                check(d, bytes, &caps, &mut seen);
                let tile = stem_matrix::choose(&s, elem, &caps);
                assert_eq!(tile.is_some(), caps.coop.is_some() && elem == DType::F16);
                if let Some(tile) = tile {
                    let binds = stem_matrix::Binds {
                        x,
                        w1,
                        b1,
                        w2,
                        b2,
                        y,
                    };
                    let bytes = stem_matrix::workgroup_bytes(&s, tile);
                    let d = stem_matrix::dispatch(&s, tile, binds, &caps);
                    check(d, bytes, &caps, &mut seen);
                }
            }
        }
    }
}

#[test]
fn patch_merging_fits_every_adapter() {
    let mut seen = HashSet::new();
    for (elem, caps) in adapters() {
        for (widths, stage, batch) in WIDTHS
            .iter()
            .flat_map(|w| [(w, 0, 1), (w, 1, 1), (w, 0, 2048), (w, 1, 2048)])
        {
            let e = expand_depthwise::Expand {
                batch,
                map: MAPS[stage],
                k: widths[stage],
                n: 4 * widths[stage],
            };
            let [x, w, b, taps, d, m] = [0, 1, 2, 3, 4, 5].map(Arg);
            let binds = expand_depthwise::Binds {
                x,
                w,
                b,
                taps,
                d,
                m,
            };
            let tile = expand_depthwise::choose(&e, elem, &caps).expect("a tile");
            if batch > 1 && elem == DType::F16 && caps.coop.is_some() {
                assert!(tile.coop && tile.parts(&e) == 1, "{e:?}: {tile:?}");
            }
            let bytes = expand_depthwise::workgroup_bytes(&e, elem, tile);
            let d = expand_depthwise::dispatch(&e, elem, tile, binds, &caps);
            check(d, bytes, &caps, &mut seen);
        }
    }
}

#[test]
fn feed_forwards_fit_every_adapter() {
    let mut seen = HashSet::new();
    for (elem, caps) in adapters() {
        for (widths, stage) in WIDTHS.iter().flat_map(|w| [(w, 0), (w, 1), (w, 2)]) {
            for batch in [1, 2048] {
                let map = MAPS[stage];
                let f = depthwise_ffn::Ffn {
                    tokens: batch * map[0] * map[1],
                    map,
                    c: widths[stage],
                    hidden: 2 * widths[stage],
                    parts: 1,
                };
                let [x, taps, w, bias, y] = [0, 1, 2, 3, 4].map(Arg);
                if let Some(tile) = depthwise_ffn::choose(&f, elem, &caps) {
                    let binds = depthwise_ffn::Binds {
                        x,
                        taps,
                        w,
                        bias,
                        y,
                    };
                    let bytes = depthwise_ffn::workgroup_bytes(&f, elem, tile);
                    let d = depthwise_ffn::dispatch(&f, elem, tile, binds, &caps);
                    check(d, bytes, &caps, &mut seen);
                }
                let tile = depthwise_ffn_matrix::choose(&f, elem, &caps);
                let able = elem == DType::F16 && caps.coop.is_some();
                assert_eq!(tile.is_some(), able && batch > 1, "{f:?}");
                if let Some(tile) = tile {
                    println!("{} channels: {tile:?}", f.c);
                    let binds = depthwise_ffn_matrix::Binds {
                        x,
                        taps,
                        w,
                        bias,
                        y,
                    };
                    let bytes = depthwise_ffn_matrix::workgroup_bytes(&f, tile);
                    let d = depthwise_ffn_matrix::dispatch(&f, tile, binds, &caps);
                    check(d, bytes, &caps, &mut seen);
                }
            }
        }
    }
}
