//! The verification of a round: which of the draft's tokens stand, and the one that follows them (section 1.1 of
//! "Online Speculative Decoding", arXiv 2310.07177). The tokens' law is the target's, whatever the draft.
//!
//! Ceilings: one row of p and one of q are read once from memory, and a strip of V / workgroup tokens again from cache;
//! rows after a rejection and before it cost one number each. One workgroup a sequence: bound by its own loads and by
//! three prefix sums.

use super::{Purpose, SETTINGS, distributions, picked, uniform};
use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "sample/accept.wgsl",
    params { batch: u32, stride: u32, draft_len: u32 },
    binds {
        p: Read, q: Read, settings: Read,
        history: Write, start: Write, draft_start: Write, fault: Write, outcome: Write,
    },
}

/// What is verified.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub batch: usize,
    /// Tokens, V.
    pub vocab: usize,
    /// Distributions of the draft kept for each sequence, at most [`super::MOST_PROPOSALS`]; with `one_hot` the most
    /// proposals, for the length of an outcome.
    pub slots: usize,
    /// Proposals, `slots` at most. 0: plain decoding.
    pub draft_len: usize,
    /// Tokens of a row of the history.
    pub stride: usize,
    /// The proposals have no distributions, as those looked up in the text: each was certain.
    pub one_hot: bool,
}

/// Words of one sequence's outcome: accepted a, new tokens a + 1, known tokens n', fault bits, then the new tokens,
/// `u32::MAX` after the last.
pub const fn outcome_len(slots: usize) -> usize {
    4 + slots + 1
}

/// One dispatch after the target's run over history[n - 1 .. n + draft_len], n = start + 1: p
/// [batch, draft_len + 1, V] holds what the target says of positions n .. n + draft_len, q [batch, slots, V] what the
/// draft's tokens there were drawn from. With `one_hot`, and where draft_len is 0, q is bound to p.
/// Writes the next token into the history, both starts, and `outcome` [batch, [`outcome_len`]]; clears `fault`.
pub fn dispatch(shape: Shape, binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        batch: shape.batch as u32,
        stride: shape.stride as u32,
        draft_len: shape.draft_len as u32,
    };
    let rows = if shape.one_hot || shape.draft_len == 0 {
        1
    } else {
        2
    };
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32)
            .choose("pick", "scan")
            .choose("random", "threefry")
            .set("V", shape.vocab)
            .set("SLOTS", shape.slots)
            .set("ONE_HOT", shape.one_hot)
            .set("WG", super::workgroup(shape.vocab, caps))
            .set("LOADS", super::loads(shape.vocab, caps)),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(shape.batch as u64, caps),
        category: Category::Sample,
        cost: Cost {
            read_bytes: 4 * (rows * shape.batch * shape.vocab) as u64,
            write_bytes: 4 * (shape.batch * outcome_len(shape.slots)) as u64,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::Arg;
    let mut cases = Vec::new();
    for (batch, vocab, slots, draft_len, one_hot, max_groups) in [
        (64, 8, 3, 3, false, 65_535),
        (33, 5, 16, 16, false, 7),
        (40, 11, 4, 0, false, 65_535),
        (50, 16, 5, 4, true, 65_535),
        (24, 257, 8, 5, false, 65_535),
        (2, 32_003, 2, 2, false, 65_535),
        (2, 70_000, 1, 1, true, 65_535),
    ] {
        let caps = Caps {
            max_groups,
            ..Caps::default()
        };
        let shape = Shape {
            batch,
            vocab,
            slots,
            draft_len,
            stride: 32,
            one_hot,
        };
        let mut settings = vec![0; batch * SETTINGS];
        let mut start = Vec::new();
        let mut p = distributions(11, batch * (draft_len + 1), vocab);
        let mut q = distributions(12, batch * slots, vocab);
        let mut history = vec![0; batch * shape.stride];
        for b in 0..batch {
            settings[b * SETTINGS + 5] = 900 + b as u32;
            let n = 2 + b % 5;
            start.push(n as u32 - 1);
            for i in 0..draft_len {
                let q_row = &mut q[(b * slots + i) * vocab..][..vocab];
                let p_row = &mut p[(b * (draft_len + 1) + i) * vocab..][..vocab];
                // Every third sequence has a draft like the target: many are accepted.
                if b % 3 == 0 {
                    q_row.copy_from_slice(p_row);
                }
                let weights: Vec<f64> = q_row.iter().map(|&w| f64::from(w)).collect();
                let u = uniform((b * 31 + i) as u64, 9, Purpose::Draft);
                let y = picked(&weights, u, 1);
                history[b * shape.stride + n + i] = y;
                if b % 4 == 1 && i == 1 {
                    // Never accepted, and the residual is 0 everywhere: the target's own distribution is left.
                    p_row[y as usize] = 0.0;
                    q_row.copy_from_slice(p_row);
                }
            }
        }
        let arrays = vec![
            Array::F32(p),
            if one_hot {
                Array::F32(vec![0.0])
            } else {
                Array::F32(q)
            },
            Array::U32(settings),
            Array::Changed(history),
            Array::Changed(start),
            Array::Changed(vec![9; batch]),
            Array::Changed((0..batch as u32).map(|b| b % 4).collect()),
            Array::OutAs(DType::U32, batch * outcome_len(slots)),
        ];
        let binds = Binds {
            p: Arg(0),
            q: Arg(1),
            settings: Arg(2),
            history: Arg(3),
            start: Arg(4),
            draft_start: Arg(5),
            fault: Arg(6),
            outcome: Arg(7),
        };
        cases.push(Case {
            name: format!("{draft_len} of {vocab}, batch {batch}"),
            dispatch: dispatch(shape, binds, &caps),
            arrays,
        });
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let par: Params = case.params();
    let v = case.variant();
    let (vocab, slots) = (v.u32("V") as usize, v.u32("SLOTS") as usize);
    let (k, stride) = (par.draft_len as usize, par.stride as usize);
    let mut history = case.whole(3).to_vec();
    let (mut start, mut draft_start, mut outcome) = (Vec::new(), Vec::new(), Vec::new());
    for b in 0..par.batch as usize {
        let seed = super::Settings::of_words(&case.whole(2)[b * SETTINGS..]).seed;
        let n = case.whole(4)[b] as usize + 1;
        let row = |of: usize, at: usize| -> Vec<f64> {
            let row = &arrays[of][at * vocab..][..vocab];
            row.iter().map(|w| w.f64()).collect()
        };
        let proposed = |i: usize| case.whole(3)[b * stride + n + i];
        let q_of = |i: usize| -> Vec<f64> {
            if !v.bool("ONE_HOT") {
                return row(1, b * slots + i);
            }
            let mut q = vec![0.0; vocab];
            q[proposed(i) as usize] = 1.0;
            q
        };
        let p_of = |i: usize| row(0, b * (k + 1) + i);
        let accepted = |i: usize| {
            let y = proposed(i) as usize;
            let u = uniform(seed, (n + i) as u32, Purpose::Accept);
            f64::from(u) * q_of(i)[y] < p_of(i)[y]
        };
        let a = (0..k).find(|&i| !accepted(i)).unwrap_or(k);
        let mut weights = p_of(a);
        if a < k {
            let q = q_of(a);
            let residual: Vec<f64> = (weights.iter().zip(&q))
                .map(|(p, q)| (p - q).max(0.0))
                .collect();
            if residual.iter().sum::<f64>() > 0.0 {
                weights = residual;
            }
        }
        let u = uniform(seed, (n + a) as u32, Purpose::Next);
        let token = picked(&weights, u, v.u32("WG") as usize);
        let (at, fault) = ((n + a) as u32, case.whole(6)[b]);
        outcome.extend([a as u32, a as u32 + 1, at + 1, fault]);
        outcome.extend((0..a).map(proposed));
        outcome.push(token);
        outcome.extend(vec![u32::MAX; slots - a]);
        history[b * stride + n + a] = token;
        start.push(at);
        draft_start.push(at - 1);
    }
    let fault = vec![0; par.batch as usize];
    [history, start, draft_start, fault, outcome]
        .into_iter()
        .map(|v| v.into_iter().map(|v| R::of(f64::from(v))).collect())
        .collect()
}
