//! `y = act(a) · b` of pairs of neighbours (a, b), act being `silu` or `gelu`: where no product before it does it.
//!
//! Ceilings: each pair is read once and half of it written, a handful of operations: bound by bandwidth.

use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "elementwise/gated.wgsl",
    params { n: u32 },
    binds { x: Read, y: Write },
}

const WG: u32 = 256;

/// One dispatch over `n` pairs of `elem`.
pub fn dispatch(n: u32, act: &'static str, elem: DType, binds: Binds, caps: &Caps) -> Dispatch {
    let bytes = u64::from(n) * elem.bytes() as u64;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(elem)
            .choose("unary", act)
            .choose("lanes", "one"),
        params: bytemuck::bytes_of(&Params { n }).to_vec(),
        args: binds.args(),
        grid: fold_grid(u64::from(n.div_ceil(WG)), caps),
        category: Category::Elementwise,
        cost: Cost {
            read_bytes: 2 * bytes,
            write_bytes: bytes,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let mut cases = Vec::new();
    for elem in [DType::F32, DType::F16] {
        for (act, n, max_groups) in [
            ("silu", 1, 65_535),
            ("gelu", 257, 65_535),
            ("silu", 1000, 3),
        ] {
            let caps = Caps {
                max_groups,
                ..Caps::default()
            };
            let binds = Binds {
                x: Arg(0),
                y: Arg(1),
            };
            let x = noise(1, 2 * n as usize).iter().map(|v| v * 3.0).collect();
            cases.push(Case {
                name: format!("{act} of {n}"),
                dispatch: dispatch(n, act, elem, binds, &caps),
                arrays: vec![Array::Elem(x), Array::Out(n as usize)],
            });
        }
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let silu = case.variant().choice("unary") == "silu";
    let one = |pair: &[R]| {
        let (a, b) = (pair[0], pair[1]);
        let act = if silu { a.silu() } else { a.gelu() };
        (act * b).stored(case.elem())
    };
    vec![arrays[0].chunks(2).map(one).collect()]
}
