//! What a draft learns from: the target's distribution that predicts the token after those accepted, put by
//! (section 1.5 of "Online Speculative Decoding", arXiv 2310.07177). It is the target's own, softmax of its logits,
//! however tokens are drawn from it.
//!
//! Ceilings: a row is read three times, twice of them from cache, and written once; bound by the loads of one workgroup.

use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "sample/keep.wgsl",
    params { rows: u32, ring: u32, sharpness: f32 },
    binds { logits: Read, outcome: Read, slots: Read, kept: Write },
}

/// What is kept.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Rows of logits.
    pub rows: usize,
    /// Tokens, V.
    pub vocab: usize,
    /// Rows of `kept`.
    pub ring: usize,
    /// The rows of accepted proposals, too.
    pub all: bool,
    /// What logits are multiplied by: 1 / temperature.
    pub sharpness: f32,
}

/// One dispatch after [`super::accept`], whose first word of `outcome` is a: of logits [rows, V] row a goes to row
/// slots[0] of kept [ring, V]; with `all`, each row j <= a to slots[j]. A slot beyond the ring is left out.
pub fn dispatch(shape: Shape, binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        rows: shape.rows as u32,
        ring: shape.ring as u32,
        sharpness: shape.sharpness,
    };
    let groups = if shape.all { shape.rows } else { 1 };
    let bytes = 4 * (groups * shape.vocab) as u64;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32)
            .choose("reduce", super::reduce(caps))
            .set("V", shape.vocab)
            .set("ALL", shape.all)
            .set("WG", super::workgroup(shape.vocab, caps).max(32)),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(groups as u64, caps),
        category: Category::Sample,
        cost: Cost {
            read_bytes: bytes,
            write_bytes: bytes,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let mut cases = Vec::new();
    for subgroups in [false, true] {
        for (rows, vocab, ring, all, a, slots, max_groups) in [
            (1, 5, 3, false, 0, vec![2], 65_535),
            (5, 257, 4, false, 3, vec![1], 65_535),
            (5, 64, 7, true, 2, vec![6, 0, 3, 1, 2], 2),
            (4, 1031, 2, true, 3, vec![u32::MAX, 1, u32::MAX, 0], 65_535),
            (2, 33, 2, false, 1, vec![9], 65_535),
        ] {
            let caps = Caps {
                max_groups,
                subgroups,
                ..Caps::default()
            };
            let shape = Shape {
                rows,
                vocab,
                ring,
                all,
                sharpness: if rows == 5 { 0.5 } else { 1.0 },
            };
            let binds = Binds {
                logits: Arg(0),
                outcome: Arg(1),
                slots: Arg(2),
                kept: Arg(3),
            };
            let logits = noise(31, rows * vocab).iter().map(|v| 4.0 * v).collect();
            cases.push(Case {
                name: format!("row {a} of {rows} × {vocab}, all: {all}"),
                dispatch: dispatch(shape, binds, &caps),
                arrays: vec![
                    Array::F32(logits),
                    Array::U32(vec![a]),
                    Array::U32(slots),
                    Array::OutAs(DType::F32, ring * vocab),
                ],
            });
        }
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let par: Params = case.params();
    let vocab = case.variant().u32("V") as usize;
    let mut kept = vec![R::of(f64::NAN); par.ring as usize * vocab];
    let a = case.whole(1)[0] as usize;
    let rows: Vec<usize> = match case.variant().bool("ALL") {
        true => (0..=a).collect(),
        false => vec![a],
    };
    for (row, &slot) in rows.into_iter().zip(case.whole(2)) {
        let row = &arrays[0][row * vocab..][..vocab];
        let most = row.iter().fold(row[0], |a, &b| a.max(b));
        let sharpness = R::of(f64::from(par.sharpness));
        let e: Vec<R> = (row.iter())
            .map(|&v| (sharpness * (v - most)).exp())
            .collect();
        let sum: R = e.iter().copied().sum();
        if slot < par.ring {
            let to = &mut kept[slot as usize * vocab..][..vocab];
            to.iter_mut().zip(e).for_each(|(to, e)| *to = e / sum);
        }
    }
    vec![kept]
}
