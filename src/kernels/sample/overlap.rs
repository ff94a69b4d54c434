//! How much of the draft's distributions the target's accept: Σ min(p, q) of each proposal, the probability that one
//! drawn there is accepted (section 1.1 of "Online Speculative Decoding", arXiv 2310.07177).
//!
//! Ceilings: both rows are read once; bound by bandwidth.

use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "sample/overlap.wgsl",
    params { rows: u32, first: u32 },
    binds { p: Read, q: Read, overlap: Write },
}

/// One dispatch: p and q [at least rows, vocab] into `overlap`, from its element `first` on.
pub fn dispatch(rows: usize, vocab: usize, first: usize, binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        rows: rows as u32,
        first: first as u32,
    };
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32)
            .choose("reduce", super::reduce(caps))
            .set("V", vocab)
            .set("WG", super::workgroup(vocab, caps).max(32)),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(rows as u64, caps),
        category: Category::Sample,
        cost: Cost {
            read_bytes: 8 * (rows * vocab) as u64,
            write_bytes: 4 * rows as u64,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::Arg;
    let mut cases = Vec::new();
    for subgroups in [false, true] {
        for (rows, vocab, first, max_groups) in [
            (1, 5, 0, 65_535),
            (7, 257, 21, 3),
            (3, 1031, 1, 65_535),
            (15, 64, 4, 65_535),
        ] {
            let caps = Caps {
                max_groups,
                subgroups,
                ..Caps::default()
            };
            let binds = Binds {
                p: Arg(0),
                q: Arg(1),
                overlap: Arg(2),
            };
            cases.push(Case {
                name: format!("{rows} of {vocab} at {first}"),
                dispatch: dispatch(rows, vocab, first, binds, &caps),
                arrays: vec![
                    Array::F32(super::distributions(21, rows + 1, vocab)),
                    Array::F32(super::distributions(22, rows, vocab)),
                    Array::OutAs(DType::F32, first + rows),
                ],
            });
        }
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let par: Params = case.params();
    let vocab = case.variant().u32("V") as usize;
    let mut out = vec![R::of(f64::NAN); par.first as usize];
    for (p, q) in (arrays[0].chunks(vocab).zip(arrays[1].chunks(vocab))).take(par.rows as usize) {
        let least = |(&p, &q): (&R, &R)| if p.f64() < q.f64() { p } else { q };
        out.push(p.iter().zip(q).map(least).sum());
    }
    vec![out]
}
