//! Attention over a cache where subgroups are the lanes of a processor, of any number of queries: [`super::flash`] and
//! [`super::decode`] in one, as there each load is one for each lane, and barriers are slow.
//!
//! Ceilings: 2 · head_dim multiply-adds for each query and key; a load for each lane's share of a key or value, shared by
//! a subgroup's queries. Prefill of 128 tokens with 6 heads of 32, then 57 in runs of 16 and 1, twelve layers, on lavapipe
//! with two threads: 2.3 s in `flash`, `decode` and `combine`, 0.36 s here.

use super::cached::{self, Cached};
use super::flash;
use crate::kernel;
use crate::shader::{Caps, Case, Category, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "attention/lanes.wgsl",
    params { m: u32, capacity: u32, window: u32, reach: u32, scale: f32 },
    binds { q: Read, cache: Read, start: Read, bias: Read, o: Write },
}

/// One dispatch, as [`flash::dispatch`], on subgroups of `lanes` ([`Caps::lanes`]).
pub fn dispatch(a: &Cached, elem: DType, binds: Binds, lanes: u32, caps: &Caps) -> Dispatch {
    let params = Params {
        m: a.m as u32,
        capacity: a.capacity as u32,
        window: a.window_of() as u32,
        reach: a.reach.unwrap_or(0) as u32,
        scale: a.scale,
    };
    let groups = (a.m * a.group()).div_ceil(lanes as usize) * a.kv_heads;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(elem)
            .set("WG", lanes)
            .set("LANES", lanes)
            .set("HEADS", a.heads)
            .set("KV_HEADS", a.kv_heads)
            .set("D", a.head_dim)
            .set("CAUSAL", a.causal)
            .set("BIAS", a.reach.is_some()),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(groups as u64, caps),
        category: Category::Attention,
        cost: flash::cost(a, elem),
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (n, (a, state, caps)) in flash::examples().into_iter().enumerate() {
        let [q, cache, start, bias, o] = cached::args();
        let binds = Binds {
            q,
            cache,
            start,
            bias,
            o,
        };
        let elem = [DType::F32, DType::F16][n % 2];
        for lanes in [4, 8] {
            cases.push(Case {
                name: cached::name(&a, state),
                dispatch: dispatch(&a, elem, binds, lanes, &caps),
                arrays: flash::arrays(&a, state),
            });
        }
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let sizes = [p.m, p.capacity, p.window, p.reach];
    let a = Cached::of_case(case.variant(), sizes, p.scale);
    vec![flash::whole(&a, cached::state(case), arrays)]
}
