//! Attention over a cache: what the kernels of one chain give together, and that a query's result depends on its
//! position alone.

use cascadia::kernels::attention::cached::Cached;
use cascadia::kernels::attention::{combine, decode};
use cascadia::shader::{Arg, Array, Case, noise};
use cascadia::tensor::DType;
use kernels_tests::harness;

fn case(dispatch: cascadia::shader::Dispatch, arrays: Vec<Array>) -> Case {
    Case {
        name: "chain".into(),
        dispatch,
        arrays,
    }
}

/// o [m, heads * head_dim] of decode and combine for queries of positions `start ..`, rows of `q` by position.
fn decoded(
    device: &cascadia::device::Device,
    a: &Cached,
    elem: DType,
    start: usize,
    q: &[f32],
    cache: &[f32],
) -> Vec<f64> {
    let width = a.heads * a.head_dim;
    let q = &q[start * width..][..a.m * width];
    let binds = decode::Binds {
        q: Arg(0),
        cache: Arg(1),
        start: Arg(2),
        bias: Arg(3),
        partial: Arg(4),
        stats: Arg(5),
    };
    let state = Array::U32(vec![start as u32]);
    let mut arrays = vec![
        Array::F32(q.to_vec()),
        Array::Elem(cache.to_vec()),
        state.clone(),
        Array::F32(vec![0.0; 4]),
    ];
    arrays.extend(a.partial().map(|n| Array::OutAs(DType::F32, n)));
    let dispatch = decode::dispatch(a, elem, binds, device.caps());
    let left = harness::run(device, &case(dispatch, arrays));
    let binds = combine::Binds {
        partial: Arg(0),
        stats: Arg(1),
        start: Arg(2),
        o: Arg(3),
    };
    let f32s = |v: &[f64]| Array::F32(v.iter().map(|&v| v as f32).collect());
    let arrays = vec![
        f32s(&left[0]),
        f32s(&left[1]),
        state,
        Array::OutAs(DType::F32, a.m * width),
    ];
    let dispatch = combine::dispatch(a, binds, device.caps());
    harness::run(device, &case(dispatch, arrays)).swap_remove(0)
}

#[test]
fn a_query_of_one_position_has_one_result_whatever_is_decoded_beside_it() {
    for adapter in harness::adapters() {
        let device = harness::open(&adapter, false);
        for (window, head_dim, elem) in [
            (0, 32, DType::F32),
            (150, 32, DType::F32),
            (0, 16, DType::F16),
        ] {
            if elem == DType::F16 && !device.caps().f16 {
                continue;
            }
            let of = |m| Cached {
                m,
                heads: 4,
                kv_heads: 2,
                head_dim,
                capacity: 300,
                window,
                reach: None,
                causal: true,
                scale: 0.17,
            };
            let width = 4 * head_dim;
            let (q, cache) = (noise(1, 300 * width), noise(2, 2 * 2 * 300 * head_dim));
            for position in [8, 127, 128, 262] {
                let row = |m: usize, i: usize| {
                    let o = decoded(&device, &of(m), elem, position - i, &q, &cache);
                    let bits = |v: &f64| v.to_bits();
                    o[i * width..][..width].iter().map(bits).collect::<Vec<_>>()
                };
                let alone = row(1, 0);
                for (m, i) in [(2, 0), (2, 1), (9, 0), (9, 4), (9, 8)] {
                    assert_eq!(
                        row(m, i),
                        alone,
                        "{adapter}, window {window}: position {position} as query {i} of {m}"
                    );
                }
            }
        }
    }
}
