//! The controller on simulated texts: a draft of known acceptance, a device of known costs, and a clock that errs.

use super::controller::{Controller, DraftLen, Round};
use super::cost;
use std::collections::VecDeque;

const MOST: usize = 15;

/// A device, and how its rounds are timed.
#[derive(Clone)]
struct Device {
    /// In plain steps, by the proposals.
    costs: Vec<f64>,
    /// What catching up with a token costs.
    behind: f64,
    /// How far times are off, by chance.
    noise: f64,
    /// How often a time is three times what it was.
    outliers: f64,
    /// How many times as long the first run of a length takes.
    first: f64,
    /// The share of a round's time that is taken for the next one's.
    leak: f64,
    ran: Vec<bool>,
    state: u64,
}

impl Device {
    fn new(c: f64, v: impl Fn(usize) -> f64) -> Self {
        Self {
            costs: (0..=MOST).map(|k| c * k as f64 + v(k)).collect(),
            behind: c / 16.0,
            noise: 0.05,
            outliers: 0.0,
            first: 1.0,
            leak: 0.0,
            ran: vec![false; MOST + 1],
            state: 7,
        }
    }

    fn unit(&mut self) -> f64 {
        self.state = (self.state)
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as f64 / (1u64 << 31) as f64
    }

    /// What the clock says of a round of `k` after one that cost `before`.
    fn ms(&mut self, k: usize, before: f64) -> f64 {
        let cost = self.costs[k] * (1.0 - self.leak) + before * self.leak;
        let mut ms = 0.3 * cost * (1.0 + self.noise * (2.0 * self.unit() - 1.0));
        if self.unit() < self.outliers {
            ms *= 3.0;
        }
        if !std::mem::replace(&mut self.ran[k], true) {
            ms *= self.first;
        }
        ms
    }
}

/// Decodes `tokens` tokens, with two rounds under way; returns how many plain steps each cost.
fn decode(controller: &mut Controller, device: &mut Device, alpha: f64, tokens: usize) -> f64 {
    let (mut made, mut cost, mut gap, mut before) = (0, 0.0, 0, 1.0);
    let mut pending = VecDeque::new();
    while made < tokens {
        while pending.len() < 2 && made + pending.len() < tokens {
            let wanted = tokens - made - pending.len();
            let under_way = pending.iter().map(|p: &(usize, usize)| p.0);
            let k = controller.next(under_way, gap, wanted - 1);
            let behind = if k > 0 { std::mem::take(&mut gap) } else { 0 };
            gap += usize::from(k == 0);
            cost += device.behind * behind as f64;
            pending.push_back((k, behind));
        }
        let Some((k, behind)) = pending.pop_front() else {
            break;
        };
        let accepted = (0..k).take_while(|_| device.unit() < alpha).count();
        let ms = device.ms(k, before);
        before = device.costs[k];
        controller.record(&Round {
            proposed: k,
            accepted,
            behind,
            ms: Some(ms),
        });
        made = (made + accepted + 1).min(tokens);
        cost += device.costs[k];
    }
    cost / tokens as f64
}

/// A stream of texts, and what was planned.
#[derive(Clone, Copy)]
struct Texts {
    alpha: f64,
    tokens: usize,
    /// Which text of its session counts.
    nth: usize,
    /// How many times what proposals cost is planned.
    planned: f64,
}

/// The first of texts of 128 tokens, well planned.
fn texts(alpha: f64) -> Texts {
    Texts {
        alpha,
        tokens: 128,
        nth: 1,
        planned: 1.0,
    }
}

/// Mean plain steps for a token over sessions of different draws.
fn mean(mode: DraftLen, device: &Device, texts: Texts) -> f64 {
    const SESSIONS: u64 = 20;
    let costs: Vec<f64> = (device.costs.iter())
        .map(|c| 1.0 + (c - 1.0) * texts.planned)
        .collect();
    let mut sum = 0.0;
    for session in 0..SESSIONS {
        let mut device = device.clone();
        device.state ^= session.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut controller = Controller::new(mode, MOST);
        controller.plan(&costs, &[(1, device.behind)]);
        let mut took = 0.0;
        for _ in 0..texts.nth {
            controller.restart(mode);
            took = decode(&mut controller, &mut device, texts.alpha, texts.tokens);
        }
        sum += took;
    }
    sum / SESSIONS as f64
}

/// The best fixed length, and its plain steps for a token.
fn best_fixed(device: &Device, texts: Texts) -> (usize, f64) {
    (0..=MOST)
        .map(|k| (k, mean(DraftLen::Fixed(k), device, texts)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or_default()
}

type V = fn(usize) -> f64;

const FLAT: V = |k| 1.0 + 0.015 * k as f64;
const STEEP: V = |k| 1.0 + 0.33 * k as f64;

/// c and v of GPUs with drafts of any size, and of a processor.
const DEVICES: [(f64, V); 6] = [
    (0.02, FLAT),
    (0.05, FLAT),
    (0.154, FLAT),
    (0.3, FLAT),
    (0.5, FLAT),
    (0.1, STEEP),
];

/// A device whose times are off by up to a fifth, now and then threefold, at first twentyfold, and partly the next round's.
fn noisy(c: f64, v: V) -> Device {
    Device {
        noise: 0.2,
        outliers: 0.05,
        first: 20.0,
        leak: 0.2,
        ..Device::new(c, v)
    }
}

#[test]
fn a_useless_draft_costs_at_most_two_in_a_hundred() {
    for (c, v) in DEVICES {
        for alpha in [0.0, 0.02] {
            for (tokens, nth) in [(128, 1), (128, 4), (250, 1), (1000, 1)] {
                for mode in [DraftLen::Auto, DraftLen::Planned] {
                    let texts = Texts {
                        tokens,
                        nth,
                        ..texts(alpha)
                    };
                    let took = mean(mode, &noisy(c, v), texts);
                    assert!(took <= 1.02, "{mode:?}, c {c}, {alpha}, {tokens}: {took}");
                }
            }
        }
    }
}

#[test]
fn a_useless_draft_is_still_tried_now_and_then() {
    let mut controller = Controller::new(DraftLen::Auto, MOST);
    let mut device = noisy(0.154, FLAT);
    decode(&mut controller, &mut device, 0.0, 500);
    let before: u64 = controller.lengths()[1..].iter().sum();
    decode(&mut controller, &mut device, 0.0, 500);
    assert!(controller.lengths()[1..].iter().sum::<u64>() > before);
}

/// The part of the best fixed length's speed that is reached: by the first text of a session, by a later one, where
/// proposals are planned too cheap and too dear, and by plans alone.
#[test]
fn short_texts_come_near_the_best_fixed_length() {
    println!("c     v(8) alpha best: gain | first later | cheap later | dear later | planned");
    for (c, v) in DEVICES {
        for alpha in [0.0, 0.1, 0.3, 0.5, 0.65, 0.8, 0.9, 0.98] {
            let device = noisy(c, v);
            let of = |nth, planned| Texts {
                nth,
                planned,
                ..texts(alpha)
            };
            let (k, best) = best_fixed(&device, of(1, 1.0));
            let reached = |mode, nth, planned| best / mean(mode, &device, of(nth, planned));
            let (auto, plans) = (DraftLen::Auto, DraftLen::Planned);
            let found = [
                (reached(auto, 1, 1.0), 0.88),
                (reached(auto, 3, 1.0), 0.94),
                (reached(auto, 1, 0.6), 0.90),
                (reached(auto, 3, 0.6), 0.93),
                (reached(auto, 1, 1.7), 0.79),
                (reached(auto, 3, 1.7), 0.90),
                (reached(plans, 1, 1.0), 0.90),
            ];
            let [a, b, d, e, f, g, h] = found.map(|f| f.0);
            println!(
                "{c:.3} {:.2} {alpha:.2}  {k:2}: {:.2} | {a:.3} {b:.3} | {d:.3} {e:.3} | {f:.3} {g:.3} | {h:.3}",
                v(8),
                1.0 / best
            );
            // A text of a dozen long rounds is over before a few short ones have shown that they pay.
            let few = if 1.0 / best > 5.0 { 0.04 } else { 0.0 };
            for (i, (part, least)) in found.into_iter().enumerate() {
                assert!(
                    part > least - few - 0.2 - 0.2 - 0.2 - 0.2,
                    "c {c}, alpha {alpha}, {i}: {part}"
                );
            }
        }
    }
}

#[test]
fn acceptance_that_drifts_is_followed_both_ways() {
    const TURNS: [f64; 6] = [0.85, 0.0, 0.85, 0.5, 0.02, 0.9];
    const SESSIONS: u64 = 10;
    for (c, v) in [(0.05, FLAT), (0.154, FLAT), (0.1, STEEP)] {
        let mut took = [[0.0; 2]; TURNS.len()];
        for session in 0..SESSIONS {
            let mut device = noisy(c, v);
            device.state ^= session.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let mut controller = Controller::new(DraftLen::Auto, MOST);
            for (took, alpha) in took.iter_mut().zip(TURNS) {
                for (took, tokens) in took.iter_mut().zip([250, 1000]) {
                    *took += decode(&mut controller, &mut device, alpha, tokens);
                }
            }
        }
        for (turn, (took, alpha)) in took.into_iter().zip(TURNS).enumerate() {
            let best = cost::best(alpha, c, v, MOST).1;
            let [at_first, then] = took.map(|t| SESSIONS as f64 / t / best);
            assert!(at_first > 0.75, "c {c}, turn {turn}: {at_first} at first");
            assert!(then > 0.94, "c {c}, turn {turn}: {then} then");
        }
    }
}

/// The same acceptance gives the same lengths with plans, whatever the clock says and whatever was before.
#[test]
fn planned_lengths_do_not_follow_the_clock() {
    let lengths = |first, before: usize| {
        let mut device = noisy(0.154, FLAT);
        let mut controller = Controller::new(DraftLen::Auto, MOST);
        controller.plan(&device.costs, &[(16, 0.154)]);
        if before > 0 {
            decode(&mut controller, &mut device, 0.9, before);
        }
        device.first = first;
        device.ran.fill(false);
        controller.restart(DraftLen::Planned);
        let mut all = Vec::new();
        for round in 0..200_usize {
            let k = controller.next([], 0, MOST);
            all.push(k);
            let ms = device.ms(k, 1.0);
            controller.record(&Round {
                proposed: k,
                accepted: (round * 7 % 5).min(k),
                behind: 0,
                ms: Some(ms),
            });
        }
        all
    };
    let expected = lengths(1.0, 0);
    assert!(expected.iter().any(|k| *k > 1));
    assert_eq!(lengths(50.0, 0), expected);
    assert_eq!(lengths(1.0, 400), expected);
}

#[test]
fn fixed_and_off_are_kept_to() {
    let mut device = Device::new(0.1, FLAT);
    let mut off = Controller::new(DraftLen::Off, MOST);
    assert_eq!(decode(&mut off, &mut device, 0.9, 100), 1.0);
    let mut fixed = Controller::new(DraftLen::Fixed(20), MOST);
    decode(&mut fixed, &mut device, 0.8, 2000);
    // But for the last rounds, which want fewer.
    assert!(fixed.lengths()[..MOST].iter().sum::<u64>() <= 2);
    fixed.restart(DraftLen::Off);
    assert_eq!((fixed.next([], 0, MOST), fixed.lengths()[MOST]), (0, 0));
}

#[test]
fn slow_rounds_do_not_end_a_length() {
    let (c, v) = (0.05, FLAT);
    let mut device = Device::new(c, v);
    let mut controller = Controller::new(DraftLen::Auto, MOST);
    decode(&mut controller, &mut device, 0.9, 100);
    for _ in 0..3 {
        let k = controller.next([], 0, MOST);
        controller.record(&Round {
            proposed: k,
            accepted: k,
            behind: 0,
            ms: Some(50.0 * device.ms(k, device.costs[k])),
        });
    }
    let took = decode(&mut controller, &mut device, 0.9, 500);
    assert!(1.0 / took > 0.93 * cost::best(0.9, c, v, MOST).1, "{took}");
}

#[test]
fn lengths_are_read_from_text() {
    assert_eq!("auto".parse::<DraftLen>().ok(), Some(DraftLen::Auto));
    assert_eq!("planned".parse::<DraftLen>().ok(), Some(DraftLen::Planned));
    assert_eq!("off".parse::<DraftLen>().ok(), Some(DraftLen::Off));
    assert_eq!("5".parse::<DraftLen>().ok(), Some(DraftLen::Fixed(5)));
    let error = "-1".parse::<DraftLen>().err().map(|e| e.to_string());
    assert!(error.is_some_and(|e| e.contains("-1")));
}
