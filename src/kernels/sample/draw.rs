//! The draft's proposal: one token of a row of probabilities, into the history.
//!
//! Ceilings: the row is read once from memory, and one strip of V / workgroup tokens again from cache. One workgroup a
//! sequence: bound by its own loads, 8 in flight for each invocation, and by two prefix sums.

use super::{Purpose, SETTINGS, distributions, picked, uniform};
use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "sample/draw.wgsl",
    params { batch: u32, stride: u32, ahead: u32 },
    binds { q: Read, settings: Read, base: Read, history: Write, start: Write },
}

/// What is drawn from.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub batch: usize,
    /// Tokens, V.
    pub vocab: usize,
    /// Distributions kept for each sequence, at most [`super::MOST_PROPOSALS`].
    pub slots: usize,
    /// Tokens of a row of the history.
    pub stride: usize,
    /// Rows of the draft's run: it predicts position start + ahead.
    pub ahead: usize,
}

/// One dispatch after a draft's run: with t = start + ahead, draws the token at position t from
/// q[b, t - base[b] - 1] (q [batch, slots, V], where [`super::transform`] put it) by the uniform of (seed, t, draft),
/// writes it into history [batch, stride] and t into the draft's start. `base` is the target's start, n - 1.
pub fn dispatch(shape: Shape, binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        batch: shape.batch as u32,
        stride: shape.stride as u32,
        ahead: shape.ahead as u32,
    };
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32)
            .choose("pick", "scan")
            .choose("random", "threefry")
            .set("V", shape.vocab)
            .set("SLOTS", shape.slots)
            .set("WG", super::workgroup(shape.vocab, caps))
            .set("LOADS", super::loads(shape.vocab, caps)),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(shape.batch as u64, caps),
        category: Category::Sample,
        cost: Cost {
            read_bytes: 4 * (shape.batch * shape.vocab) as u64,
            write_bytes: 8 * shape.batch as u64,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::Arg;
    let mut cases = Vec::new();
    for (batch, vocab, slots, max_groups) in [
        (64, 8, 2, 65_535),
        (37, 5, 1, 9),
        (20, 257, 3, 65_535),
        (3, 32_003, 1, 65_535),
        (2, 70_000, 2, 65_535),
    ] {
        let caps = Caps {
            max_groups,
            ..Caps::default()
        };
        let shape = Shape {
            batch,
            vocab,
            slots,
            stride: 24,
            ahead: 2,
        };
        let mut settings = vec![0; batch * SETTINGS];
        let (mut base, mut start) = (Vec::new(), Vec::new());
        for b in 0..batch {
            settings[b * SETTINGS + 5] = 77 + b as u32;
            settings[b * SETTINGS + 6] = 5;
            let n = 3 + b % 7;
            base.push(n as u32 - 1);
            start.push((n - 2 + b % slots) as u32);
        }
        let binds = Binds {
            q: Arg(0),
            settings: Arg(1),
            base: Arg(2),
            history: Arg(3),
            start: Arg(4),
        };
        cases.push(Case {
            name: format!("{batch} of {vocab}"),
            dispatch: dispatch(shape, binds, &caps),
            arrays: vec![
                Array::F32(distributions(7, batch * slots, vocab)),
                Array::U32(settings),
                Array::U32(base),
                Array::Changed(vec![1; batch * shape.stride]),
                Array::Changed(start),
            ],
        });
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let v = case.variant();
    let (vocab, slots) = (v.u32("V") as usize, v.u32("SLOTS") as usize);
    let mut history = case.whole(3).to_vec();
    let mut start = case.whole(4).to_vec();
    for b in 0..p.batch as usize {
        let settings = super::Settings::of_words(&case.whole(1)[b * SETTINGS..]);
        let t = start[b] + p.ahead;
        let slot = (t - case.whole(2)[b] - 1) as usize;
        let row = &arrays[0][(b * slots + slot) * vocab..][..vocab];
        let weights: Vec<f64> = row.iter().map(|w| w.f64()).collect();
        let u = uniform(settings.seed, t, Purpose::Draft);
        history[b * p.stride as usize + t as usize] = picked(&weights, u, v.u32("WG") as usize);
        start[b] = t;
    }
    let whole = |v: Vec<u32>| v.into_iter().map(|v| R::of(f64::from(v))).collect();
    vec![whole(history), whole(start)]
}
