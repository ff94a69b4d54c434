//! What is measured of each request, and means of it.

/// What a request was and cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    pub domain: usize,
    /// New tokens, and the runs of the target that they took.
    pub tokens: usize,
    pub rounds: usize,
    pub proposed: usize,
    pub accepted: usize,
    /// The mean of Σ min(p, q) over the positions that were tested: the probability that a proposal is accepted.
    pub overlap: Option<f64>,
    /// From the first round to the last, and of updates that came with this request.
    pub seconds: f64,
    pub update_seconds: f64,
}

/// Which figure stands for acceptance: every arm must have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// [`Row::overlap`], the paper's α.
    Overlap,
    /// Accepted of proposed. Proposals behind a rejected one count as rejected, so that it is below α.
    Acceptance,
}

impl Measure {
    /// The overlap where all rows with proposals have it.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Self {
        let mut drafted = rows.into_iter().filter(|r| r.proposed > 0).peekable();
        match drafted.peek().is_some() && drafted.all(|r| r.overlap.is_some()) {
            true => Self::Overlap,
            false => Self::Acceptance,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::Acceptance => "acceptance",
        }
    }

    /// A request's; `None` where nothing was proposed.
    pub fn score(self, row: &Row) -> Option<f64> {
        match self {
            Self::Overlap => row.overlap,
            Self::Acceptance => row.acceptance(),
        }
    }

    pub fn scores(self, rows: &[Row]) -> Vec<Option<f64>> {
        rows.iter().map(|r| self.score(r)).collect()
    }
}

impl Row {
    pub fn acceptance(&self) -> Option<f64> {
        (self.proposed > 0).then(|| self.accepted as f64 / self.proposed as f64)
    }

    pub fn tokens_per_round(&self) -> f64 {
        self.tokens as f64 / self.rounds.max(1) as f64
    }

    pub fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.seconds.max(1e-9)
    }
}

/// The mean of those that are there.
pub fn mean(values: &[Option<f64>]) -> Option<f64> {
    let some: Vec<f64> = values.iter().flatten().copied().collect();
    (!some.is_empty()).then(|| some.iter().sum::<f64>() / some.len() as f64)
}

/// After each request the mean of the last `window`, or of as many as there are.
pub fn moving(values: &[Option<f64>], window: usize) -> Vec<Option<f64>> {
    let window = window.max(1);
    (0..values.len())
        .map(|i| mean(&values[(i + 1).saturating_sub(window)..=i]))
        .collect()
}

/// The mean of several curves, request by request.
pub fn average(curves: &[Vec<Option<f64>>]) -> Vec<Option<f64>> {
    let n = curves.iter().map(Vec::len).max().unwrap_or(0);
    (0..n)
        .map(|i| {
            mean(
                &curves
                    .iter()
                    .map(|c| c.get(i).copied().flatten())
                    .collect::<Vec<_>>(),
            )
        })
        .collect()
}

/// How many of `n` requests a moving mean is over: the paper's 50, or an eighth of a short stream.
pub fn window(n: usize) -> usize {
    (n / 8).clamp(2, 50)
}

/// What stands for the end of a stream: its last quarter.
pub fn last<T>(values: &[T]) -> &[T] {
    &values[values.len() - values.len().div_ceil(4)..]
}

/// The first request from which on `window` of them are at least those of `level` in the mean.
pub fn reaches(
    curve: &[Option<f64>],
    level: &dyn Fn(usize) -> Option<f64>,
    window: usize,
) -> Option<usize> {
    let levels: Vec<Option<f64>> = (0..curve.len()).map(level).collect();
    (0..curve.len()).find(|&i| {
        let end = (i + window.max(1)).min(curve.len());
        let (own, other) = (mean(&curve[i..end]), mean(&levels[i..end]));
        own.zip(other).is_some_and(|(own, other)| own >= other)
    })
}

/// How far a curve falls below what it had reached before, at most.
pub fn fall(curve: &[Option<f64>]) -> f64 {
    let (mut best, mut fall) = (f64::MIN, 0.0f64);
    for &value in curve.iter().flatten() {
        best = best.max(value);
        fall = fall.max(best - value);
    }
    fall
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(values: &[f64]) -> Vec<Option<f64>> {
        values.iter().map(|&v| Some(v)).collect()
    }

    #[test]
    fn means_move() {
        let values = [Some(1.0), None, Some(3.0), Some(5.0)];
        assert_eq!(mean(&values), Some(3.0));
        assert_eq!(mean(&[None]), None);
        let moved = moving(&values, 2);
        assert_eq!(moved, [Some(1.0), Some(1.0), Some(3.0), Some(4.0)]);
        assert_eq!(
            average(&[some(&[1.0, 2.0]), some(&[3.0])]),
            some(&[2.0, 2.0])
        );
        assert_eq!([4, 80, 4000].map(window), [2, 10, 50]);
        assert_eq!(last(&[1, 2, 3, 4, 5]), [4, 5]);
    }

    #[test]
    fn a_level_is_reached_when_it_holds_for_a_window() {
        let curve = some(&[0.1, 0.6, 0.1, 0.1, 0.5, 0.6, 0.7]);
        assert_eq!(reaches(&curve, &|_| Some(0.5), 3), Some(4));
        assert_eq!(reaches(&curve, &|_| Some(0.5), 1), Some(1));
        assert_eq!(reaches(&curve, &|_| Some(0.9), 2), None);
        assert_eq!(reaches(&curve, &|_| None, 2), None);
        assert!((fall(&some(&[0.5, 0.7, 0.4, 0.6, 0.2])) - 0.5).abs() < 1e-12);
        assert_eq!(fall(&some(&[0.1, 0.2])), 0.0);
    }

    #[test]
    fn overlap_stands_for_acceptance_where_all_have_it() {
        let row = |proposed, overlap| Row {
            proposed,
            accepted: 2,
            overlap,
            ..Row::default()
        };
        let plain = row(0, None);
        assert_eq!(Measure::of([&plain, &row(4, Some(0.7))]), Measure::Overlap);
        assert_eq!(
            Measure::of([&row(4, None), &row(4, Some(0.7))]),
            Measure::Acceptance
        );
        assert_eq!(Measure::of([&plain]), Measure::Acceptance);
        assert_eq!(Measure::Acceptance.score(&row(4, Some(0.7))), Some(0.5));
        assert_eq!(Measure::Acceptance.score(&plain), None);
    }
}
