//! Logits into the probabilities that tokens are drawn from: repetition penalty, temperature, top-k, top-p, min-p.
//!
//! Ceilings: a row is read once from memory and written once. At temperature 0 that is all. Else it is read three times,
//! twice of them from cache; top-k reads it four times more, top-p five times, a penalty writes and reads it once more.
//! One workgroup a row: bound by its own loads, 8 in flight for each invocation (32 are slower on an H100, 38 against 29
//! µs for 32,000 tokens: that much more code is fetched).

use super::{DRAFT_FAULT, SETTINGS, Settings, TARGET_FAULT};
use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "sample/transform.wgsl",
    params { batch: u32, rows: u32, ahead: u32, stride: u32 },
    binds {
        logits: Read, history: Read, start: Read, base: Read, settings: Read,
        fault: Write, p: Write,
    },
}

/// What is transformed.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub batch: usize,
    /// Rows of logits for each sequence.
    pub rows: usize,
    /// Tokens, V.
    pub vocab: usize,
    /// Rows of p for each sequence.
    pub slots: usize,
    /// Row 0 predicts position start + ahead: 1 where the logits are those of all rows of a run, its rows where they are
    /// those of the last only.
    pub ahead: usize,
    /// Tokens of a row of the history.
    pub stride: usize,
    /// Whose logits they are, for the bit of `fault` that faulty ones set.
    pub draft: bool,
}

/// One dispatch: logits [batch, rows, V] into p [batch, slots, V]. Row i predicts position t = start + ahead + i and goes
/// to slot t - base - 1, where `base` is the target's start: for the target's own logits `base` and `start` are one
/// buffer, for the draft's this is the place among the round's proposals. A row beyond the slots is left out.
pub fn dispatch(shape: Shape, binds: Binds, caps: &Caps) -> Dispatch {
    let params = Params {
        batch: shape.batch as u32,
        rows: shape.rows as u32,
        ahead: shape.ahead as u32,
        stride: shape.stride as u32,
    };
    let reduce = if caps.subgroups {
        "subgroup"
    } else {
        "workgroup"
    };
    let rows = shape.batch * shape.rows;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32)
            .choose("reduce", reduce)
            .set("V", shape.vocab)
            .set("SLOTS", shape.slots)
            .set(
                "FAULT",
                if shape.draft {
                    DRAFT_FAULT
                } else {
                    TARGET_FAULT
                },
            )
            .set("WG", super::workgroup(shape.vocab, caps))
            .set("LOADS", super::loads(shape.vocab, caps)),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(rows as u64, caps),
        category: Category::Sample,
        cost: Cost {
            read_bytes: 4 * (rows * shape.vocab) as u64,
            write_bytes: 4 * (rows * shape.vocab) as u64,
            macs: 0,
        },
    }
}

/// Settings that cases go through, one sequence after the other.
fn kinds() -> Vec<Settings> {
    let s = Settings::default();
    vec![
        s,
        Settings {
            temperature: 0.6,
            penalty: 1.3,
            ..s
        },
        Settings { top_k: 3, ..s },
        Settings {
            temperature: 1.5,
            top_p: 0.7,
            ..s
        },
        Settings { min_p: 0.1, ..s },
        Settings::greedy(),
        Settings {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.9,
            min_p: 0.02,
            penalty: 0.9,
            ..s
        },
        Settings { top_k: 1, ..s },
        Settings {
            top_k: 300,
            top_p: 0.95,
            ..s
        },
        Settings {
            penalty: 1.2,
            ..Settings::greedy()
        },
        Settings { top_p: 1e-4, ..s },
    ]
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let mut cases = Vec::new();
    for subgroups in [false, true] {
        for (batch, rows, vocab, scale, faults, max_groups) in [
            (11, 2, 8, 2.0, false, 65_535),
            (11, 1, 5, 2.0, false, 4),
            (22, 2, 257, 3.0, false, 65_535),
            (11, 1, 1031, 4.0, true, 65_535),
            (3, 2, 40, 90.0, true, 65_535),
            (11, 1, 20_011, 3.0, false, 65_535),
        ] {
            let caps = Caps {
                max_groups,
                subgroups,
                ..Caps::default()
            };
            let shape = Shape {
                batch,
                rows,
                vocab,
                slots: rows + 1,
                ahead: 2,
                stride: 30,
                draft: faults,
            };
            let mut logits: Vec<f32> = (noise(3, batch * rows * vocab).iter())
                .map(|v| v * scale)
                .collect();
            for (i, row) in logits.chunks_mut(vocab).enumerate() {
                // Ties, at the top too, and tokens that cannot be.
                row[vocab / 2] = row[1];
                row[vocab - 1] = f32::NEG_INFINITY;
                if i % 2 == 1 {
                    row[3] = row.iter().copied().fold(-1e9, f32::max);
                }
                match (faults, i % 8) {
                    (true, 0) => row[4] = f32::NAN,
                    (true, 1) => row[2] = f32::INFINITY,
                    (true, 2) => row.fill(f32::NEG_INFINITY),
                    (true, 3) => row[vocab / 3] = f32::MIN,
                    _ => {}
                }
            }
            let words = |v: u32, n: usize| -> Vec<u32> {
                (0..n as u32)
                    .map(|i| (i * 7919 + v) % (vocab as u32 + 1))
                    .collect()
            };
            let kinds = kinds();
            let start: Vec<u32> = (0..batch as u32).map(|b| 2 + b % 9).collect();
            let binds = Binds {
                logits: Arg(0),
                history: Arg(1),
                start: Arg(2),
                base: Arg(3),
                settings: Arg(4),
                fault: Arg(5),
                p: Arg(6),
            };
            cases.push(Case {
                name: format!("{batch} × {rows} of {vocab}"),
                dispatch: dispatch(shape, binds, &caps),
                arrays: vec![
                    Array::F32(logits),
                    Array::U32(words(1, batch * shape.stride)),
                    Array::U32(start.clone()),
                    Array::U32(start.iter().map(|s| s + 1).collect()),
                    Array::U32(
                        (0..batch)
                            .flat_map(|b| kinds[b % kinds.len()].words())
                            .collect(),
                    ),
                    Array::Changed(vec![4; batch]),
                    Array::OutAs(DType::F32, batch * shape.slots * vocab),
                ],
            });
        }
    }
    cases
}

/// A row of probabilities, and whether its logits are faulty.
fn transformed<R: Real>(logits: &[R], before: &[u32], s: &Settings) -> (Vec<R>, bool) {
    let lowest = R::of(f64::from(f32::MIN));
    let mut faulty = false;
    let sane = |l: &R| {
        let v = l.f64();
        faulty |= v.is_nan() || v == f64::INFINITY;
        if v.is_finite() { *l } else { lowest }
    };
    let mut logits: Vec<R> = logits.iter().map(sane).collect();
    faulty |= logits.iter().all(|&l| l <= lowest);
    let penalty = R::of(f64::from(s.penalty));
    let mut seen = before.to_vec();
    seen.sort_unstable();
    seen.dedup();
    for c in seen.into_iter().map(|c| c as usize) {
        if c < logits.len() && s.penalty != 1.0 {
            let l = logits[c];
            let l = if l > R::zero() {
                l / penalty
            } else {
                l * penalty
            };
            logits[c] = l.max(lowest);
        }
    }
    let most = logits.iter().fold(lowest, |a, &b| a.max(b));
    if s.temperature < 1e-6 {
        let first = logits.iter().position(|&l| l == most);
        let one = |c| R::of(if Some(c) == first { 1.0 } else { 0.0 });
        return ((0..logits.len()).map(one).collect(), faulty);
    }
    let temperature = R::of(f64::from(s.temperature));
    let mut w: Vec<R> = (logits.iter())
        .map(|&l| ((l - most) / temperature).max(R::of(-1000.0)).exp())
        .collect();
    let mut down: Vec<R> = logits.clone();
    down.sort_by(|a, b| b.f64().total_cmp(&a.f64()));
    let mut least = lowest;
    if s.top_k > 0 && (s.top_k as usize) < down.len() {
        least = down[s.top_k as usize - 1];
    }
    if s.top_p < 1.0 {
        let total: f64 = (logits.iter().zip(&w))
            .filter(|(l, _)| **l >= least)
            .map(|(_, w)| w.f64())
            .sum();
        let mut mass = 0.0;
        let mut sorted: Vec<(f64, f64)> = (logits.iter().zip(&w))
            .map(|(l, w)| (l.f64(), w.f64()))
            .collect();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (l, w) in sorted {
            mass += w;
            if mass >= f64::from(s.top_p) * total {
                least = R::of(l);
                break;
            }
        }
    }
    let min_p = R::of(f64::from(s.min_p));
    for (w, &l) in w.iter_mut().zip(&logits) {
        if l < least || *w < min_p {
            *w = R::zero();
        }
    }
    let total: R = w.iter().copied().sum();
    (w.into_iter().map(|w| w / total).collect(), faulty)
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let par: Params = case.params();
    let v = case.variant();
    let (vocab, slots) = (v.u32("V") as usize, v.u32("SLOTS") as usize);
    let (rows, stride) = (par.rows as usize, par.stride as usize);
    let mut fault = case.whole(5).to_vec();
    let mut p = vec![R::of(f64::NAN); par.batch as usize * slots * vocab];
    for b in 0..par.batch as usize {
        let settings = Settings::of_words(&case.whole(4)[b * SETTINGS..]);
        for i in 0..rows {
            let t = (case.whole(2)[b] + par.ahead) as usize + i;
            let slot = t - case.whole(3)[b] as usize - 1;
            if slot >= slots {
                continue;
            }
            let logits = &arrays[0][(b * rows + i) * vocab..][..vocab];
            let before = &case.whole(1)[b * stride..][..t.min(stride)];
            let (row, faulty) = transformed(logits, before, &settings);
            p[(b * slots + slot) * vocab..][..vocab].copy_from_slice(&row);
            if faulty {
                fault[b] |= v.u32("FAULT");
            }
        }
    }
    vec![fault.into_iter().map(|f| R::of(f64::from(f))).collect(), p]
}
