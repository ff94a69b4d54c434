//! The chunks of [`super::decode`] joined into the attention's output.
//!
//! Ceilings: `partial` is read once: a head_dim of f32 for each chunk, query and head; bound by latency.

use super::cached::{self, Cached};
use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "attention/combine.wgsl",
    params { m: u32, window: u32, chunks: u32 },
    binds { partial: Read, stats: Read, start: Read, o: Write },
}

const WG: usize = 256;

fn split(a: &Cached) -> usize {
    ((WG * 4 / a.head_dim + 1).next_power_of_two() / 2).min(32)
}

/// Bytes of workgroup memory of the variant that [`dispatch`] takes.
pub fn workgroup_bytes(a: &Cached) -> u32 {
    (split(a) * (a.head_dim + 2) * 4) as u32
}

/// One dispatch: o f32 [m, heads * head_dim] from what [`super::decode::dispatch`] left for the same `a`.
pub fn dispatch(a: &Cached, binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        m: a.m as u32,
        window: a.window_of() as u32,
        chunks: a.chunks() as u32,
    };
    let [partial, stats] = a.partial();
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32)
            .set("WG", WG)
            .set("HEADS", a.heads)
            .set("D", a.head_dim)
            .set("CHUNK", a.chunk())
            .set("SPLIT", split(a))
            .set("CAUSAL", a.causal),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid((a.m * a.heads) as u64, caps),
        category: Category::Attention,
        cost: Cost {
            read_bytes: 4 * (partial + stats) as u64,
            write_bytes: 4 * (a.m * a.heads * a.head_dim) as u64,
            macs: partial as u64,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::noise;
    let mut cases = Vec::new();
    let mut examples = cached::examples();
    let (mut long, _, caps) = examples[1].clone();
    long.capacity = 9000; // more chunks than are summed at a time
    examples.push((long, 8990, caps.clone()));
    examples.push((
        Cached {
            causal: false,
            ..long
        },
        0,
        caps,
    )); // no keys
    for (a, state, caps) in examples {
        let [partial, stats, start, o] = cached::args();
        let binds = Binds {
            partial,
            stats,
            start,
            o,
        };
        let [n, n_stats] = a.partial();
        // What decode leaves unwritten is no number here.
        let mut partial = noise(1, n);
        let mut stats: Vec<f32> = noise(2, n_stats);
        for (at, stat) in stats.chunks_mut(2).enumerate() {
            stat[0] *= 20.0;
            stat[1] = stat[1].abs() + 1.0;
            let (c, i) = (at / a.heads / a.m, at / a.heads % a.m);
            let key = (a.sees(state, 0).start / a.chunk() + c) * a.chunk();
            let seen = a.sees(state, i);
            if key + a.chunk() <= seen.start || key >= seen.end {
                stat.fill(f32::NAN);
                partial[at * a.head_dim..][..a.head_dim].fill(f32::NAN);
            }
        }
        cases.push(Case {
            name: cached::name(&a, state),
            dispatch: dispatch(&a, binds, &caps),
            arrays: vec![
                Array::F32(partial),
                Array::F32(stats),
                Array::U32(vec![state as u32]),
                Array::OutAs(DType::F32, a.m * a.heads * a.head_dim),
            ],
        });
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let rows = p.m as usize * case.variant().u32("HEADS") as usize;
    let d = case.variant().u32("D") as usize;
    let mut o = Vec::new();
    for row in 0..rows {
        let live: Vec<usize> = (0..p.chunks as usize)
            .map(|c| c * rows + row)
            .filter(|at| !arrays[1][2 * at].f64().is_nan())
            .collect();
        let top = (live.iter()).fold(R::of(f64::MIN), |a, at| a.max(arrays[1][2 * at]));
        let weight = |at: usize| (arrays[1][2 * at] - top).exp();
        let sum: R = live
            .iter()
            .map(|&at| weight(at) * arrays[1][2 * at + 1])
            .sum();
        for c in 0..d {
            let all: R = (live.iter())
                .map(|&at| weight(at) * arrays[0][at * d + c])
                .sum();
            o.push(if live.is_empty() {
                R::zero()
            } else {
                all / sum
            });
        }
    }
    vec![o]
}
