//! Which of several drafts is to propose, by what each of them saved: discounted Thompson sampling with Gaussian
//! posteriors ("Discounted Thompson Sampling for Non-Stationary Bandit Problems", Qi, Wang, Zhu, arXiv 2305.10718). What
//! was seen fades, as drafts learn and as requests change; so an arm that was not taken for long is tried again.
//!
//! There the posterior's variance is 1 / N, for anything in [0, 1]. What a request saves varies far less, so that here it
//! is σ² / N, σ² being what is measured within the arms.

use crate::engine::osd::Draws;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// What is kept of what was seen at each further request: some 50 requests count.
const KEEP: f64 = 0.98;
/// The variance of what requests save that is assumed at first, for so many requests, and the least.
const VARIANCE: f64 = 0.02;
const ASSUMED: f64 = 4.0;
const LEAST: f64 = 4e-4;

/// What was seen of an arm: discounted counts, sums and sums of squares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    pub requests: f64,
    pub sum: f64,
    pub squares: f64,
}

impl Seen {
    /// The mean; `None` of an arm never tried.
    pub fn mean(&self) -> Option<f64> {
        (self.requests > 0.0).then(|| self.sum / self.requests)
    }

    fn sound(&self) -> bool {
        let all = [self.requests, self.sum, self.squares];
        all.iter().all(|v| v.is_finite() && *v >= 0.0)
    }
}

/// Chooses among arms.
pub struct Bandit {
    arms: Vec<Seen>,
    draws: Draws,
}

impl Bandit {
    /// One without arms; what it draws follows `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            arms: Vec::new(),
            draws: Draws::new(seed),
        }
    }

    /// One more arm, of which `seen` is known; what is no count counts as nothing.
    pub fn add(&mut self, seen: Seen) {
        let seen = if seen.sound() { seen } else { Seen::default() };
        self.arms.push(seen);
    }

    pub fn arms(&self) -> &[Seen] {
        &self.arms
    }

    /// The arm for the next request: one that was never tried, the first of them; else the one whose draw from its
    /// posterior is the highest. 0 where there is none.
    pub fn choose(&mut self) -> usize {
        if let Some(new) = self.arms.iter().position(|a| a.mean().is_none()) {
            return new;
        }
        let variance = self.variance();
        let mut best = (0, f64::MIN);
        for (i, arm) in self.arms.iter().enumerate() {
            let mean = arm.mean().unwrap_or(0.0);
            let draw = mean + normal(&mut self.draws) * (variance / arm.requests).sqrt();
            if draw.total_cmp(&best.1) == Ordering::Greater {
                best = (i, draw);
            }
        }
        best.0
    }

    /// Variance within the arms.
    fn variance(&self) -> f64 {
        let within = |a: &Seen| (a.squares - a.sum * a.sum / a.requests.max(1e-12)).max(0.0);
        let sum: f64 = self.arms.iter().map(within).sum();
        let requests: f64 = self.arms.iter().map(|a| a.requests).sum();
        ((sum + ASSUMED * VARIANCE) / (requests + ASSUMED)).max(LEAST)
    }

    /// Takes note that `arm` saved `share`, in [0, 1]; what is no number is left out.
    pub fn record(&mut self, arm: usize, share: f64) {
        if !share.is_finite() || arm >= self.arms.len() {
            return;
        }
        for seen in &mut self.arms {
            seen.requests *= KEEP;
            seen.sum *= KEEP;
            seen.squares *= KEEP;
        }
        let (seen, share) = (&mut self.arms[arm], share.clamp(0.0, 1.0));
        seen.requests += 1.0;
        seen.sum += share;
        seen.squares += share * share;
    }
}

/// A draw from the normal distribution (Box, Muller).
fn normal(draws: &mut Draws) -> f64 {
    let (u, v) = (1.0 - draws.unit(), draws.unit());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bandit(arms: usize, seed: u64) -> Bandit {
        let mut bandit = Bandit::new(seed);
        (0..arms).for_each(|_| bandit.add(Seen::default()));
        bandit
    }

    /// Serves `requests` with arms that save `means`; the part of them that the best arm got, of the last half.
    fn serve(bandit: &mut Bandit, means: &[f64], requests: usize, noise: &mut Draws) -> f64 {
        let best = (0..means.len()).max_by(|&a, &b| means[a].total_cmp(&means[b]));
        let mut hits = 0;
        for i in 0..requests {
            let arm = bandit.choose();
            let share = means[arm] + 0.1 * normal(noise);
            bandit.record(arm, share);
            hits += usize::from(2 * i >= requests && Some(arm) == best);
        }
        hits as f64 / (requests - requests / 2) as f64
    }

    #[test]
    fn the_best_arm_is_found_and_found_again_when_it_is_another() {
        let (mut first, mut second) = (0.0, 0.0);
        for seed in 0..20 {
            let (mut bandit, mut noise) = (bandit(5, seed), Draws::new(seed + 100));
            let means = [0.1, 0.4, 0.2, 0.6, 0.3];
            first += serve(&mut bandit, &means, 120, &mut noise) / 20.0;
            // The best arm's requests changed, and another one has learned.
            second += serve(&mut bandit, &[0.1, 0.4, 0.7, 0.3, 0.3], 400, &mut noise) / 20.0;
        }
        println!("the best arm got {first:.2}, then {second:.2}");
        assert!(first > 0.75 && second > 0.75, "{first} {second}");
    }

    #[test]
    fn every_arm_is_tried_first_and_what_is_no_number_changes_nothing() {
        let mut bandit = bandit(3, 1);
        for expected in 0..3 {
            assert_eq!(bandit.choose(), expected);
            bandit.record(expected, 0.5);
        }
        let before = bandit.arms().to_vec();
        bandit.record(1, f64::NAN);
        bandit.record(9, 0.5);
        assert_eq!(bandit.arms(), before);
        bandit.add(Seen {
            requests: f64::INFINITY,
            sum: -1.0,
            squares: 0.0,
        });
        assert_eq!(bandit.choose(), 3, "what was read wrongly is tried anew");
    }

    #[test]
    fn equal_arms_share_the_requests() {
        let (mut bandit, mut noise) = (bandit(2, 3), Draws::new(5));
        let mut taken = [0; 2];
        for _ in 0..400 {
            let arm = bandit.choose();
            taken[arm] += 1;
            bandit.record(arm, 0.4 + 0.1 * normal(&mut noise));
        }
        assert!(taken.iter().all(|n| *n > 80), "{taken:?}");
    }
}
