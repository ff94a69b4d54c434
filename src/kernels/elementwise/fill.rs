//! One number everywhere: what sums start from.
//!
//! Ceilings: each element is written once: bound by bandwidth.

use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "elementwise/fill.wgsl",
    params { n: u32, value: f32 },
    binds { y: Write },
}

const WG: u32 = 256;

/// One dispatch over `n` elements of y, f32.
pub fn dispatch(n: u32, value: f32, binds: Binds, caps: &Caps) -> Dispatch {
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32),
        params: bytemuck::bytes_of(&Params { n, value }).to_vec(),
        args: binds.args(),
        grid: fold_grid(u64::from(n.div_ceil(WG)), caps),
        category: Category::Elementwise,
        cost: Cost {
            read_bytes: 0,
            write_bytes: 4 * u64::from(n),
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::Arg;
    let case = |(n, value, max_groups): (u32, f32, u32)| {
        let caps = Caps {
            max_groups,
            ..Caps::default()
        };
        Case {
            name: format!("{n} of {value}"),
            dispatch: dispatch(n, value, Binds { y: Arg(0) }, &caps),
            arrays: vec![Array::OutAs(DType::F32, n as usize)],
        }
    };
    let sizes = [(1, 0.0, 65_535), (257, 1.5, 65_535), (1500, -2.0, 2)];
    sizes.into_iter().map(case).collect()
}

fn reference<R: Real>(case: &Case, _: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    vec![vec![R::of(f64::from(p.value)); p.n as usize]]
}
