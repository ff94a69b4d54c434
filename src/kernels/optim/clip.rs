//! Clipping by the norm of all gradients, and the rule that gradients which are no numbers change nothing.
//!
//! Ceilings: some thousand numbers are read once: bound by latency.

use super::{CONTROL, LIMIT, control};
use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant};
use crate::tensor::DType;

kernel! {
    "optim/clip.wgsl",
    params { n: u32, most: f32, part: f32 },
    binds { parts: Read, control: Write },
}

/// One dispatch over all parts f32 `[n]` that `optim/norm` wrote, before the update: it counts the update in `control`
/// f32 [[`CONTROL`]], or flags it as skipped, and sets the factor of all gradients. `most`: the norm that gradients may
/// have; 0 for any. `part`: what they were computed times one over.
pub fn dispatch(n: usize, [most, part]: [f32; 2], binds: Binds, caps: &Caps) -> Dispatch {
    let reduce = if caps.subgroups {
        "subgroup"
    } else {
        "workgroup"
    };
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32).choose("reduce", reduce),
        params: bytemuck::bytes_of(&Params {
            n: n as u32,
            most,
            part,
        })
        .to_vec(),
        args: binds.args(),
        grid: [1, 1, 1],
        category: Category::Reduce,
        cost: Cost {
            read_bytes: 4 * n as u64,
            write_bytes: 4 * CONTROL as u64,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::Arg;
    let binds = Binds {
        parts: Arg(0),
        control: Arg(1),
    };
    let mut cases = Vec::new();
    for (n, part, other, most, limit, subgroups) in [
        (1, 16.0, 0.0, 0.0, 0.0, false),
        (300, 49.0, 0.1, 1.5, 9.0, true),
        (4, 4.0, 0.3, 100.0, 0.0, true),
        (6, 4.0, 0.3, 1.0, 2.0, false), // beyond the limit
        (1000, f32::NAN, 1.0, 1.0, 5.0, false),
        (2, f32::INFINITY, 1.0, 0.0, 0.0, true),
    ] {
        let caps = Caps {
            subgroups,
            ..Caps::default()
        };
        let scale = if subgroups { 0.125 } else { 1.0 };
        let mut parts = vec![other; n];
        parts[n * 9 / 10] = part;
        let mut control = control(7, 0.001);
        control[LIMIT] = limit;
        cases.push(Case {
            name: format!("{n} of {part}, {most} at most, limit {limit}"),
            dispatch: dispatch(n, [most, scale], binds, &caps),
            arrays: vec![Array::F32(parts), Array::ChangedF32(control.to_vec())],
        });
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let sum: R = arrays[0].iter().copied().sum();
    let (zero, one, most) = (R::zero(), R::of(1.0), R::of(f64::from(p.most)));
    let (limit, part) = (arrays[1][LIMIT], R::of(f64::from(p.part)));
    let norm = sum.sqrt() * part;
    let beyond = limit > zero && norm > limit;
    let [made, skipped] = match sum.f64().is_finite() && !beyond {
        true => [one, zero],
        false => [zero, one],
    };
    let factor = most / (norm + R::of(1e-6));
    let clips = p.most > 0.0 && sum.f64().is_finite() && factor < one;
    let mut control = arrays[1].clone();
    control[0] += made;
    control[1] = skipped;
    control[2] += skipped;
    control[3] = part * if clips { factor } else { one };
    control[4] = norm;
    vec![control]
}
