//! Multiply-adds and nothing else: what benches take an adapter's arithmetic to be.
//!
//! Ceilings: none but the adapter's own; 32 chains an invocation hide the latency of each.

use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid, noise};
use crate::tensor::DType;

kernel! {
    "elementwise/multiply_add.wgsl",
    params { n: u32, rounds: u32, a: f32, b: f32 },
    binds { x: Read, y: Write },
}

const WG: u32 = 256;

/// Chains of an invocation.
const CHAINS: u32 = 32;

/// One dispatch over `n` elements, f32, `rounds` multiply-adds a chain.
pub fn dispatch(n: u32, rounds: u32, binds: Binds, caps: &Caps) -> Dispatch {
    // Chains stay between 0 and 32.
    let params = Params {
        n,
        rounds,
        a: 0.75,
        b: 0.125,
    };
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(u64::from(n.div_ceil(WG)), caps),
        category: Category::Elementwise,
        cost: Cost {
            read_bytes: 4 * u64::from(n),
            write_bytes: 4 * u64::from(n),
            macs: u64::from(n) * u64::from(rounds) * u64::from(CHAINS),
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::Arg;
    let case = |(n, rounds, max_groups): (u32, u32, u32)| {
        let caps = Caps {
            max_groups,
            ..Caps::default()
        };
        let binds = Binds {
            x: Arg(0),
            y: Arg(1),
        };
        Case {
            name: format!("{n} × {rounds}"),
            dispatch: dispatch(n, rounds, binds, &caps),
            arrays: vec![
                Array::F32(noise(1, n as usize)),
                Array::OutAs(DType::F32, n as usize),
            ],
        }
    };
    let sizes = [(1, 0, 65_535), (257, 1, 65_535), (1500, 5, 2)];
    sizes.into_iter().map(case).collect()
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let (a, b) = (R::of(f64::from(p.a)), R::of(f64::from(p.b)));
    let chain = |x: R, c: u32| (0..p.rounds).fold(x + R::of(f64::from(c)), |v, _| v * a + b);
    let y = (arrays[0].iter()).map(|&x| (0..CHAINS).map(|c| chain(x, c)).sum());
    vec![y.collect()]
}
