//! The controller on simulated streams: a draft of known acceptance, a device of known times.

use super::controller::{Controller, DraftLen, Round};
use super::cost;

/// A device: times in ms with some noise.
struct Device {
    c: f64,
    v: fn(usize) -> f64,
    noise: f64,
    state: u64,
}

impl Device {
    fn new(c: f64, v: fn(usize) -> f64) -> Self {
        Self {
            c,
            v,
            noise: 0.05,
            state: 7,
        }
    }

    fn unit(&mut self) -> f64 {
        self.state = (self.state)
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as f64 / (1u64 << 31) as f64
    }

    fn round(&mut self, k: usize, alpha: f64) -> Round {
        let accepted = (0..k).take_while(|_| self.unit() < alpha).count();
        let (draft_ms, verify_ms) = (10.0 * self.c * k as f64, 10.0 * (self.v)(k));
        let mut noisy = |ms: f64| ms * (1.0 + self.noise * (2.0 * self.unit() - 1.0));
        Round {
            proposed: k,
            accepted,
            draft_ms: noisy(draft_ms),
            verify_ms: noisy(verify_ms),
        }
    }
}

/// Decodes `tokens` tokens; returns how many plain steps' time each took.
fn decode(controller: &mut Controller, device: &mut Device, alpha: f64, tokens: usize) -> f64 {
    let (mut made, mut ms) = (0, 0.0);
    while made < tokens {
        let round = device.round(controller.next(), alpha);
        controller.record(&round);
        made += round.accepted + 1;
        ms += round.draft_ms + round.verify_ms;
    }
    ms / 10.0 / made as f64
}

const FLAT: fn(usize) -> f64 = |k| 1.0 + 0.02 * k as f64;
const STEEP: fn(usize) -> f64 = |k| 1.0 + 0.33 * k as f64;

#[test]
fn a_useless_draft_costs_at_most_two_in_a_hundred() {
    for (c, v) in [
        (0.02, FLAT),
        (0.1, FLAT),
        (0.3, FLAT),
        (0.1, STEEP),
        (0.0, STEEP),
    ] {
        for alpha in [0.0, 0.02] {
            for tokens in [128, 500, 5000] {
                let mut controller = Controller::new(DraftLen::Auto, 8);
                let mut device = Device::new(c, v);
                let took = decode(&mut controller, &mut device, alpha, tokens);
                assert!(took <= 1.02, "c {c}, alpha {alpha}, {tokens}: {took}");
                let rounds: u64 = controller.lengths().iter().skip(1).sum();
                assert!(rounds > 0, "never probed");
            }
        }
    }
}

#[test]
fn a_good_draft_comes_within_five_in_a_hundred_of_the_best_fixed_length() {
    for (c, v) in [(0.02, FLAT), (0.1, FLAT), (0.1, STEEP), (0.0, FLAT)] {
        for alpha in [0.6, 0.8, 0.95] {
            let (k, best) = cost::best(alpha, c, v, 8);
            let mut controller = Controller::new(DraftLen::Auto, 8);
            let took = decode(&mut controller, &mut Device::new(c, v), alpha, 3000);
            assert!(
                1.0 / took > 0.95 * best,
                "c {c}, alpha {alpha}: {} of {best} at {k}, {:?}",
                1.0 / took,
                controller.lengths()
            );
        }
    }
}

#[test]
fn acceptance_that_drifts_is_followed_both_ways() {
    let (c, v) = (0.05, FLAT);
    let mut device = Device::new(c, v);
    let mut controller = Controller::new(DraftLen::Auto, 8);
    for (turn, alpha) in [0.85, 0.0, 0.85, 0.5, 0.02, 0.9].into_iter().enumerate() {
        let best = cost::best(alpha, c, v, 8).1;
        let at_first = decode(&mut controller, &mut device, alpha, 250);
        let then = decode(&mut controller, &mut device, alpha, 1000);
        assert!(
            1.0 / at_first > 0.7 * best,
            "{turn}: {} of {best} at first",
            1.0 / at_first
        );
        assert!(
            1.0 / then > 0.93 * best,
            "{turn}: {} of {best} then",
            1.0 / then
        );
    }
}

#[test]
fn fixed_and_off_are_kept_to_and_the_figures_are_those_of_the_request() {
    let mut device = Device::new(0.1, FLAT);
    device.noise = 0.0;
    let mut off = Controller::new(DraftLen::Off, 8);
    assert_eq!(decode(&mut off, &mut device, 0.9, 100), 1.0);
    assert_eq!((off.acceptance(), off.mean_accepted()), (None, None));
    let mut fixed = Controller::new(DraftLen::Fixed(20), 8);
    fixed.record(&device.round(0, 0.0));
    let took = decode(&mut fixed, &mut device, 0.8, 20_000);
    assert_eq!(fixed.lengths()[1..8], [0; 7]);
    let expected = cost::expected_tokens(0.8, 8) - 1.0;
    let found = fixed.mean_accepted().unwrap_or_default();
    assert!(
        (found / expected - 1.0).abs() < 0.03,
        "{found}, not {expected}"
    );
    assert!((fixed.acceptance().unwrap_or_default() - found / 8.0).abs() < 1e-12);
    assert!((fixed.draft_cost().unwrap_or_default() - 0.1).abs() < 1e-9);
    assert!((fixed.verify_cost(8).unwrap_or_default() - 1.16).abs() < 1e-9);
    let predicted = fixed.predicted_speedup().unwrap_or_default();
    assert!(
        (predicted * took - 1.0).abs() < 0.01,
        "{predicted} and {took}"
    );
    assert_eq!(fixed.best_for(0.0), 0);
    fixed.restart(DraftLen::Off);
    assert_eq!((fixed.next(), fixed.acceptance()), (0, None));
    assert!(fixed.plain_ms().is_some());
}

#[test]
fn one_slow_round_does_not_end_a_length() {
    let (c, v) = (0.05, FLAT);
    let mut device = Device::new(c, v);
    let mut controller = Controller::new(DraftLen::Auto, 8);
    decode(&mut controller, &mut device, 0.9, 50);
    let mut slow = device.round(controller.next(), 0.9);
    slow.verify_ms *= 50.0;
    controller.record(&slow);
    decode(&mut controller, &mut device, 0.9, 400);
    let took = decode(&mut controller, &mut device, 0.9, 1000);
    assert!(1.0 / took > 0.93 * cost::best(0.9, c, v, 8).1, "{took}");
}

#[test]
fn lengths_are_read_from_text() {
    assert_eq!("auto".parse::<DraftLen>().ok(), Some(DraftLen::Auto));
    assert_eq!("off".parse::<DraftLen>().ok(), Some(DraftLen::Off));
    assert_eq!("5".parse::<DraftLen>().ok(), Some(DraftLen::Fixed(5)));
    let error = "-1".parse::<DraftLen>().err().map(|e| e.to_string());
    assert!(error.is_some_and(|e| e.contains("-1")));
}
