//! What rounds cost, in plain steps: planned, and where the clock counts corrected by the times that were measured.

use std::collections::VecDeque;

/// Times of a length that are kept: their lower median counts.
const KEPT: usize = 9;

/// Times of a length without which none counts: the first run may compile or warm up something.
const FEWEST: usize = 2;

/// How many times measured the line through all lengths weighs in the time of one.
const LINE: f64 = 2.0;

/// The least share of what was planned that proposals are believed to cost, as times err.
const LEAST: f64 = 0.6;

/// How much the planned slope of that line weighs against a time measured.
const SLOPE: f64 = 0.2;

/// Costs of rounds by their proposals.
#[derive(Clone, Debug)]
pub struct Costs {
    /// In plain steps; of 0 proposals 1.
    planned: Vec<f64>,
    /// Of runs of the draft that only fill its caches: rows, and plain steps.
    fills: Vec<(usize, f64)>,
    /// In ms, the latest last.
    seen: Vec<VecDeque<f64>>,
    /// Their lower median.
    middle: Vec<Option<f64>>,
    /// Rounds since the last of those.
    ages: Vec<u32>,
    /// In ms, where anything was measured.
    fitted: Vec<f64>,
}

impl Costs {
    /// Of rounds of up to `most` proposals, of whose costs nothing is known: a proposal is taken to cost a tenth.
    pub fn new(most: usize) -> Self {
        Self {
            planned: (0..=most).map(|k| 1.0 + 0.1 * k as f64).collect(),
            fills: Vec::new(),
            seen: vec![VecDeque::with_capacity(KEPT); most + 1],
            middle: vec![None; most + 1],
            ages: vec![0; most + 1],
            fitted: Vec::new(),
        }
    }

    /// Takes `costs` of 0, 1, … proposals, of any unit, for planned, and of it those of runs that fill so many rows of the
    /// draft's caches; what is no cost is left out.
    pub fn plan(&mut self, costs: &[f64], fills: &[(usize, f64)]) {
        let plain = costs.first().copied().unwrap_or_default();
        for (k, (planned, cost)) in self.planned.iter_mut().zip(costs).enumerate() {
            let relative = cost / plain;
            if relative.is_finite() {
                // Proposals are never free.
                *planned = relative.max(1.0 + 1e-3 * k as f64);
            }
        }
        self.fills = (fills.iter().map(|(rows, cost)| (*rows, cost / plain)))
            .filter(|(rows, cost)| *rows > 0 && cost.is_finite())
            .collect();
        self.fit();
    }

    /// What it costs, in plain steps as planned, that the draft catches up with `tokens`.
    pub fn behind(&self, tokens: usize) -> f64 {
        (self.fills.iter())
            .map(|(rows, cost)| tokens.div_ceil(*rows) as f64 * cost)
            .reduce(f64::min)
            .unwrap_or(0.0)
    }

    /// Takes note that a round of `k` proposals ran, and of its time where that is known.
    pub fn measure(&mut self, k: usize, ms: Option<f64>) {
        self.ages.iter_mut().for_each(|a| *a = a.saturating_add(1));
        let (Some(seen), Some(ms)) = (self.seen.get_mut(k), ms) else {
            return;
        };
        if !(ms.is_finite() && ms > 0.0) {
            return;
        }
        if seen.len() == KEPT {
            seen.pop_front();
        }
        seen.push_back(ms);
        self.middle[k] = median(seen);
        self.ages[k] = 0;
        self.fit();
    }

    /// The cost of `k` proposals in plain steps, by the clock or as planned.
    pub fn of(&self, k: usize, clock: bool) -> f64 {
        let planned = self.planned.get(k).copied().unwrap_or(1.0);
        match (self.fitted.get(k), self.fitted.first()) {
            (Some(ms), Some(plain)) if clock => (ms / plain).max(1.0 + (planned - 1.0) * LEAST),
            _ => planned,
        }
    }

    /// How often a round of `k` proposals was measured, at most [`KEPT`], and how many rounds ago.
    pub fn measured(&self, k: usize) -> (usize, u32) {
        let seen = self.seen.get(k).map_or(0, VecDeque::len);
        (seen, self.ages.get(k).copied().unwrap_or_default())
    }

    /// The time of a plain step, where one was measured.
    pub fn plain_ms(&self) -> Option<f64> {
        self.middle.first().copied().flatten()
    }

    /// A line a + b × planned cost beyond a plain step through the times measured, each length drawn to its own.
    fn fit(&mut self) {
        let counts: Vec<Option<f64>> = (self.seen.iter().enumerate())
            .map(|(k, seen)| {
                let expected = self.fitted.get(k).copied().unwrap_or(0.0);
                self.middle[k].filter(|&t| seen.len() >= FEWEST || t < expected)
            })
            .collect();
        let known: Vec<(f64, f64, f64)> = (counts.iter().zip(&self.seen).zip(&self.planned))
            .filter_map(|((t, seen), planned)| Some((planned - 1.0, (*t)?, seen.len() as f64)))
            .collect();
        let weight: f64 = known.iter().map(|k| k.2).sum();
        if weight == 0.0 {
            return;
        }
        let scale = known.iter().map(|(h, t, n)| n * t / (1.0 + h)).sum::<f64>() / weight;
        // Least squares of relative errors, and of how far b / a is from what was planned.
        let prior = SLOPE / (scale * scale);
        let (mut aa, mut ab, mut bb, mut a1, mut b1) = (prior, -prior, prior, 0.0, 0.0);
        for &(h, t, n) in &known {
            let w = n / (t * t);
            aa += w;
            ab += w * h;
            bb += w * h * h;
            a1 += w * t;
            b1 += w * h * t;
        }
        let det = aa * bb - ab * ab;
        let (a, b) = ((a1 * bb - b1 * ab) / det, (b1 * aa - a1 * ab) / det);
        let line = if a > 0.0 && b >= 0.0 {
            [a, b]
        } else {
            [scale, 0.0]
        };
        self.fitted = (counts.iter().zip(&self.seen).zip(&self.planned))
            .map(|((t, seen), planned)| {
                let (on, n) = (line[0] + line[1] * (planned - 1.0), seen.len() as f64);
                t.map_or(on, |t| (n * t + LINE * on) / (n + LINE))
            })
            .collect();
    }
}

/// The lower median.
fn median(of: &VecDeque<f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = of.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(of.len().checked_sub(1)? / 2).copied()
}
