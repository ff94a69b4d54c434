//! A row of a linear layer does not depend on how many rows are computed with it, to the bit: speculative decoding
//! verifies several rows at once and must say what plain decoding, one row at a time, says.

use cascadia::kernels::matmul::skinny;
use cascadia::shader::{Array, Caps, Case, CoopMatrix};
use cascadia::tensor::DType;
use cascadia::tensor::quant::Format;
use kernels_tests::{emulate, harness};

use cascadia::kernels::matmul::linear::{Epilogue, Linear, Operands};
use cascadia::kernels::matmul::pack::Packing;
use cascadia::shader::{Arg, noise};

const N: usize = 40;
const K: usize = 1100;

/// The first `m` rows of one x through one weight, with a norm before and a gate after.
fn case(m: usize, format: Format, caps: &Caps) -> Case {
    let linear = Linear {
        m,
        n: N,
        k: K,
        format,
        norm: Some(1e-5),
        bias: true,
        epilogue: Epilogue::Silu,
        scale: 1.0,
        first: 0,
        stride: N / 2,
    };
    let at = Operands {
        x: Arg(0),
        w: Arg(1),
        scales: Some(Arg(2)),
        aux: Some(Arg(3)),
        r: Some(Arg(4)),
        y: Arg(5),
    };
    let values = noise(2, N * K);
    let packing = Packing::of(format);
    let words = |bytes: Vec<u8>| {
        let (words, _) = bytes.as_chunks::<4>();
        Array::U32(words.iter().map(|&b| u32::from_le_bytes(b)).collect())
    };
    Case {
        name: format!("{m} rows of {format}"),
        dispatch: skinny::dispatch(&linear, at, caps),
        arrays: vec![
            Array::F32(noise(1, 16 * K)[..m * K].to_vec()),
            words((packing.w)(&values, [N, K])),
            words(packing.scales.map_or(vec![0; 4], |s| s(&values, [N, K]))),
            Array::F32(noise(3, K + N)),
            Array::F32(vec![0.0; 4]),
            Array::OutAs(DType::F32, m * N / 2),
        ],
    }
}

fn rows_agree(caps: &Caps, emulated: bool) {
    for adapter in harness::adapters() {
        let device = harness::open(&adapter, false);
        for format in [Format::F32, Format::F16, Format::Q8_0, Format::Q4_0] {
            let run = |m: usize| {
                let case = case(m, format, caps);
                assert_eq!(
                    harness::on_matrix_units(&case),
                    emulated && format != Format::F32
                );
                let case = if emulated {
                    emulate::without_matrix_units(&case)
                } else {
                    case
                };
                (harness::unsupported(&case, device.caps()).is_none())
                    .then(|| harness::run(&device, &case).swap_remove(0))
            };
            let Some(all) = run(16) else { continue };
            assert!(all.iter().all(|v| v.is_finite()));
            for m in [1, 2, 9] {
                let few = run(m).unwrap_or_default();
                assert_eq!(few, all[..m * N / 2], "{adapter}: {m} rows of {format}");
            }
        }
    }
}

#[test]
fn a_row_is_the_same_to_the_bit_however_many_there_are() {
    rows_agree(&Caps::default(), false);
}

#[test]
fn a_row_on_emulated_matrix_units_is_the_same_to_the_bit_however_many_there_are() {
    let caps = Caps {
        f16: true,
        subgroups: true,
        subgroup_min: 32,
        subgroup_max: 32,
        coop: Some(CoopMatrix {
            m: 16,
            n: 16,
            k: 16,
        }),
        max_workgroup_bytes: 32 << 10,
        ..Caps::default()
    };
    rows_agree(&caps, true);
}
