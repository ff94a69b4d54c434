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
}
