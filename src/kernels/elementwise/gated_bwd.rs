//! Gradients of `y = act(a) · b` of pairs of neighbours (a, b), act being `silu` or `gelu`.
//!
//! Ceilings: each pair is read and written once, its dy read once: bound by bandwidth.

use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "elementwise/gated_bwd.wgsl",
    params { n: u32 },
    binds { x: Read, dy: Read, dx: Write },
}

const WG: u32 = 256;

/// One dispatch over `n` pairs: x and dx f32 `[n, 2]`, dy f32 `[n]`. `act`: "silu", "gelu" or "relu".
pub fn dispatch(n: u32, act: &'static str, binds: Binds, caps: &Caps) -> Dispatch {
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32)
            .choose("unary", act)
            .choose("unary_grad", act),
        params: bytemuck::bytes_of(&Params { n }).to_vec(),
        args: binds.args(),
        grid: fold_grid(u64::from(n.div_ceil(WG)), caps),
        category: Category::Elementwise,
        cost: Cost {
            read_bytes: 12 * u64::from(n),
            write_bytes: 8 * u64::from(n),
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let binds = Binds {
        x: Arg(0),
        dy: Arg(1),
        dx: Arg(2),
    };
    let mut cases = Vec::new();
    for (act, n, max_groups) in [
        ("silu", 1, 65_535),
        ("gelu", 257, 65_535),
        ("relu", 300, 65_535),
        ("silu", 1000, 3),
    ] {
        let caps = Caps {
            max_groups,
            ..Caps::default()
        };
        let x = noise(1, 2 * n as usize).iter().map(|v| v * 3.0).collect();
        cases.push(Case {
            name: format!("{act} of {n}"),
            dispatch: dispatch(n, act, binds, &caps),
            arrays: vec![
                Array::F32(x),
                Array::F32(noise(2, n as usize)),
                Array::OutAs(DType::F32, 2 * n as usize),
            ],
        });
    }
    cases
}

/// The activation and its slope at `v`.
pub(super) fn slope<R: Real>(act: &str, v: R) -> [R; 2] {
    let one = R::of(1.0);
    match act {
        "silu" => {
            let s = v.sigmoid();
            [v.silu(), s + v * s * (one - s)]
        }
        "gelu" => {
            let twice = R::of(2.0 * (2.0 / std::f64::consts::PI).sqrt());
            let s = (twice * (v + R::of(0.044_715) * v * v * v)).sigmoid();
            let inner = twice * (one + R::of(3.0 * 0.044_715) * v * v);
            [v.gelu(), s + v * s * (one - s) * inner]
        }
        _ if v > R::zero() => [v, one],
        _ => [R::zero(), R::zero()],
    }
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let act = case.variant().choice("unary");
    let pairs = arrays[0].chunks(2).zip(&arrays[1]);
    let one = |(pair, &dy): (&[R], &R)| {
        let [value, slope] = slope(act, pair[0]);
        [dy * pair[1] * slope, dy * value]
    };
    vec![pairs.flat_map(one).collect()]
}
