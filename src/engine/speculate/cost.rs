//! What speculation gains (section 3 and appendix A.3 of "Online Speculative Decoding", arXiv 2310.07177), with the term
//! that its Eq. 1 leaves out: verifying k + 1 tokens costs more than one.

/// Tokens of one run of the target that verifies `k` proposals, each accepted with probability `alpha`:
/// 1 + α + … + α^k = (1 - α^(k+1)) / (1 - α).
pub fn expected_tokens(alpha: f64, k: usize) -> f64 {
    let mut sum = 1.0;
    for _ in 0..k {
        sum = 1.0 + alpha * sum;
    }
    sum
}

/// How much faster than plain decoding: E / (k c + v), where a step of the draft costs `c` and the verification `v` of a
/// plain step. Eq. 1 is v = 1.
pub fn speedup(alpha: f64, k: usize, c: f64, v: f64) -> f64 {
    expected_tokens(alpha, k) / (k as f64 * c + v)
}

/// The k in 0..=most with the highest [`speedup`], and that; the least of equal ones. `v` gives the cost of verifying k
/// proposals, v(0) = 1.
pub fn best(alpha: f64, c: f64, v: impl Fn(usize) -> f64, most: usize) -> (usize, f64) {
    let mut best = (0, speedup(alpha, 0, c, v(0)));
    for k in 1..=most {
        let s = speedup(alpha, k, c, v(k));
        if s > best.1 {
            best = (k, s);
        }
    }
    best
}

/// How much faster a draft with acceptance `after` makes decoding than one with `before`, both with `k` proposals and of
/// one cost: the ratio of appendix A.3.
pub fn improvement(before: f64, after: f64, k: usize) -> f64 {
    expected_tokens(after, k) / expected_tokens(before, k)
}

/// Operations of the target over those of a draft `ratio` times smaller that learns, for the same text (Eq. 6 of appendix
/// A.4): rounds of `k` proposals that bring `a` tokens each; a token learned costs as much as three proposed.
pub fn operations(k: usize, a: f64, ratio: f64) -> f64 {
    (k + 1) as f64 * ratio / (k as f64 + 3.0 * a)
}

/// Bytes of weights read for `tokens` tokens of a request (appendix A.5): the target's `target` once a round of `a` tokens,
/// the draft's `draft` once a token; and once more where it learns, a token of every `interval`th request. Without a draft,
/// `a` is 1 and `draft` 0.
pub fn bytes_read(tokens: f64, a: f64, [target, draft]: [f64; 2], interval: Option<f64>) -> f64 {
    let learning = interval.map_or(0.0, |i| draft * tokens / i);
    tokens / a * target + tokens * draft + learning
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64, within: f64) {
        assert!(
            (found - expected).abs() <= within,
            "{found}, not {expected}"
        );
    }

    #[test]
    fn expected_tokens_are_the_closed_form() {
        for alpha in [0.0, 0.3, 0.76, 0.999] {
            for k in 0..12 {
                let closed = (1.0 - f64::powi(alpha, k as i32 + 1)) / (1.0 - alpha);
                near(expected_tokens(alpha, k), closed, 1e-9);
            }
        }
        near(expected_tokens(1.0, 5), 6.0, 0.0);
        near(expected_tokens(0.76, 5), 3.36, 0.005);
    }

    #[test]
    fn the_best_lengths_are_the_published_ones() {
        for (c, k) in [(0.01, 7), (0.02, 6), (0.05, 4), (0.1, 3)] {
            assert_eq!(best(0.6, c, |_| 1.0, 99).0, k, "c = {c}");
        }
        for (alpha, c, k, s) in [
            (0.7, 0.05, 6, 2.35),
            (0.7, 0.1, 4, 1.98),
            (0.8, 0.1, 6, 2.47),
            (0.9, 0.1, 10, 3.43),
        ] {
            let found = best(alpha, c, |_| 1.0, 99);
            assert_eq!(found.0, k, "alpha {alpha}, c {c}");
            near(found.1, s, 0.005);
        }
    }

    #[test]
    fn a_verification_that_grows_caps_the_gain() {
        for (alpha, slope, cap) in [(0.8, 0.33, 1.31), (0.9, 0.33, 1.51), (0.9, 0.5, 1.23)] {
            let found = best(alpha, 0.1, |k| 1.0 + slope * k as f64, 99);
            near(found.1, cap, 0.006);
        }
        assert_eq!(best(0.0, 0.1, |_| 1.0, 99).0, 0);
        assert_eq!(best(0.3, 0.4, |k| 1.0 + 0.5 * k as f64, 8).0, 0);
    }

    #[test]
    fn a_better_draft_of_the_same_cost_gains_by_its_tokens() {
        near(improvement(0.5, 0.5, 5), 1.0, 0.0);
        near(
            improvement(0.3, 0.8, 5),
            speedup(0.8, 5, 0.1, 1.4) / speedup(0.3, 5, 0.1, 1.4),
            1e-12,
        );
    }

    /// Acceptance before and after distillation (Table 1), and the gain that the paper predicts from it.
    #[test]
    fn the_papers_gains_are_those_of_its_acceptance() {
        for (before, after, gain) in [
            (0.28, 0.76, 2.42),
            (0.58, 0.75, 1.436),
            (0.38, 0.65, 1.64),
            (0.57, 0.67, 1.227),
            (0.13, 0.78, 3.06),
            (0.29, 0.62, 1.76),
            (0.28, 0.81, 2.72),
            (0.39, 0.63, 1.55),
        ] {
            near(improvement(before, after, 5), gain, 0.006);
        }
    }

    /// The theoretical rows of Table 7. That of the larger pair is for k = 5 and c = 0.10, not for what its caption says.
    #[test]
    fn the_papers_speedups_are_those_of_its_model() {
        let alphas = [0.5, 0.6, 0.7, 0.8, 0.9];
        for (k, c, table) in [
            (8, 0.13, [0.98, 1.21, 1.57, 2.12, 3.00]),
            (5, 0.10, [1.31, 1.59, 1.96, 2.46, 3.12]),
        ] {
            for (alpha, expected) in alphas.into_iter().zip(table) {
                near(speedup(alpha, k, c, 1.0), expected, 0.006);
            }
        }
    }

    /// Appendices A.4 and A.5, Table 5.
    #[test]
    fn the_papers_operations_and_bytes_are_counted() {
        near(operations(5, 3.0, 7.0 / 0.16), 18.75, 1e-9);
        near(operations(5, 4.3, 3.0 / 0.08), 12.6, 0.05);
        let (l, pair) = (128.0, [14.0, 0.32]);
        near(bytes_read(l, 1.0, [14.0, 0.0], None), 1792.0, 1e-9);
        near(bytes_read(l, 1.4, pair, None), 1320.0, 1.0);
        near(bytes_read(l, 3.4, pair, Some(8.0)), 573.0, 0.5);
    }
}
