//! Cascaded group attention without a GPU: its memory and its choices.

use cascadia::kernels::attention::cascaded_group::{
    Binds, Held, KERNEL, Shape, choose, dispatch, fits, workgroup_bytes,
};
use cascadia::kernels::attention::cascaded_group_matrix as matrix;
use cascadia::shader::{Arg, Array, Caps, Case, CoopMatrix, Dispatch};
use cascadia::tensor::DType;
use kernels_tests::harness;

fn shape(batch: usize, side: usize, heads: usize, d: usize, window: usize) -> Shape {
    Shape {
        batch,
        h: side,
        w: side,
        heads,
        d,
        window,
        kernels: [7, 5, 3, 3],
        parts: 1,
    }
}

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
        parallel: 132,
        ..Caps::default()
    }
}

/// Every stage of M0 to M5 at 224: heads, channels of a head, side of the map.
const STAGES: [[usize; 3]; 18] = [
    [4, 16, 14],
    [4, 32, 7],
    [4, 48, 4],
    [2, 64, 14],
    [3, 48, 7],
    [3, 64, 4],
    [4, 32, 14],
    [3, 64, 7],
    [2, 112, 4],
    [4, 32, 14],
    [3, 80, 7],
    [4, 80, 4],
    [4, 32, 14],
    [4, 64, 7],
    [4, 96, 4],
    [3, 64, 14],
    [3, 96, 7],
    [4, 96, 4],
];

/// Bytes of workgroup memory of a dispatch's module.
fn bytes(dispatch: Dispatch) -> u32 {
    harness::workgroup_bytes(&Case {
        name: String::new(),
        dispatch,
        arrays: Vec::<Array>::new(),
    })
}

#[test]
fn claimed_bytes_are_those_of_the_module() {
    let caps = Caps {
        max_workgroup_bytes: 32 << 10,
        ..Caps::default()
    };
    for ([heads, d, side], batch) in STAGES.into_iter().flat_map(|s| [(s, 1), (s, 2048)]) {
        let shape = shape(batch, side, heads, d, side.min(7));
        let Some(choice) = choose(&caps, DType::F32, &shape) else {
            continue;
        };
        assert!(fits(&caps, DType::F32, &shape, &choice));
        let binds = Binds {
            x: Arg(0),
            w: Arg(1),
            b: Arg(2),
            y: Arg(3),
        };
        let d = dispatch(&choice, DType::F32, &shape, binds, &caps);
        let claimed = workgroup_bytes(&shape, &choice, DType::F32);
        assert_eq!(claimed, bytes(d), "{shape:?} {choice:?}");
    }
    for case in (KERNEL.cases)() {
        assert!(
            harness::workgroup_bytes(&case) > 0,
            "{}",
            case.dispatch.label()
        );
    }
}

#[test]
fn every_stage_runs_on_matrix_units_in_48_kib() {
    for ([heads, d, side], batch) in STAGES.into_iter().flat_map(|s| [(s, 1), (s, 2048)]) {
        let shape = shape(batch, side, heads, d, side.min(7));
        let choice = matrix::choose(&nvidia(), DType::F16, &shape).expect("a choice");
        let binds = matrix::Binds {
            x: Arg(0),
            w: Arg(1),
            b: Arg(2),
            y: Arg(3),
        };
        let d = matrix::dispatch(&choice, &shape, binds, &nvidia());
        let claimed = matrix::workgroup_bytes(&shape, &choice);
        assert_eq!(claimed, bytes(d) as usize, "{shape:?} {choice:?}");
        assert!(claimed <= 48 << 10, "{shape:?} {choice:?}");
    }
}

#[test]
fn f32_in_32_kib_takes_every_stage_and_not_what_does_not_fit() {
    let caps = Caps {
        max_workgroup_bytes: 32 << 10,
        ..Caps::default()
    };
    let held = |shape| choose(&caps, DType::F32, &shape).map(|c| c.held);
    for ([heads, d, side], batch) in STAGES.into_iter().flat_map(|s| [(s, 1), (s, 2048)]) {
        assert!(held(shape(batch, side, heads, d, side.min(7))).is_some());
    }
    assert_eq!(held(shape(1, 7, 3, 64, 7)), Some(Held::OneHead));
    assert_eq!(held(shape(1, 7, 3, 96, 7)), Some(Held::Nothing));
    // There y has no place for the tokens beyond the map.
    assert_eq!(held(shape(1, 8, 3, 96, 7)), None);
    assert_eq!(held(shape(1, 7, 3, 112, 7)), None);
    assert_eq!(held(shape(1, 7, 2, 8, 7)), None);
    assert_eq!(choose(&caps, DType::F16, &shape(1, 7, 2, 16, 7)), None);
}
