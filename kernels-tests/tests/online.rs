//! A draft that learns while it serves: what the target says never changes by it (T2 of section 5.3 of "Online
//! Speculative Decoding"), it gets better, and what makes it worse is rolled back.

use cascadia::device::Device;
use cascadia::engine::distill::Loss;
use cascadia::engine::language::{
    Draft, DraftLen, Request, Room, Sampling, Scorer, Session, Watch,
};
use cascadia::engine::online::{Online, OnlineSettings, Positions};
use kernels_tests::distill::{Pair, devices, pair};
use std::collections::HashMap;

fn request(max_new: usize, sampling: Sampling, draft_len: DraftLen) -> Request {
    Request {
        max_new,
        sampling,
        draft_len,
        stop: Vec::new(),
        check: false,
    }
}

fn settings(interval: usize) -> OnlineSettings {
    OnlineSettings {
        interval,
        max_rows: 64,
        lr: 3e-3,
        share: 1.0,
        slice_ms: 1e4,
        // Every step is to be served, whatever it does.
        tolerance: 1.0,
        ..OnlineSettings::default()
    }
}

fn online(pair: &Pair, settings: OnlineSettings) -> Online {
    Online::new(&pair.target, &pair.draft, settings, Room::of(96)).unwrap_or_else(|e| panic!("{e}"))
}

fn first() -> Device {
    devices().next().expect("a device")
}

fn alone(pair: &Pair) -> Session {
    Session::new(&pair.target, Draft::None, Room::of(96)).unwrap_or_else(|e| panic!("{e}"))
}

fn plain(session: &mut Session, prompt: &[u32], new: usize) -> Vec<u32> {
    let request = request(new, Sampling::greedy(), DraftLen::Off);
    let mut generation = session
        .generate(prompt, &request)
        .unwrap_or_else(|e| panic!("{e}"));
    let mut all = Vec::new();
    while let Some(tokens) = generation.next().unwrap_or_else(|e| panic!("{e}")) {
        all.extend(tokens);
    }
    all
}

#[test]
fn greedy_text_stays_that_of_plain_decoding_while_weights_move() {
    for device in devices().take(1) {
        let pair = pair(&device);
        let mut alone = alone(&pair);
        for (positions, rebuild) in [(Positions::Errors, false), (Positions::All, true)] {
            let mut online = online(
                &pair,
                OnlineSettings {
                    positions,
                    rebuild,
                    ..settings(1)
                },
            );
            let request = request(40, Sampling::greedy(), DraftLen::Fixed(3));
            for i in 0..4 {
                let prompt = &pair.tokens[..8 + i];
                let mut streamed: Vec<u32> = Vec::new();
                let served = online
                    .serve(prompt, &request, &mut |t| streamed.extend(t))
                    .unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(served.tokens, plain(&mut alone, prompt, 40), "request {i}");
                assert_eq!(streamed, served.tokens);
            }
            online.idle().unwrap_or_else(|e| panic!("{e}"));
            let figures = online.figures();
            println!("{}: {figures:?}", device.name());
            assert!(figures.updates >= 3, "{figures:?}");
            assert!(figures.serve_update_seconds > 0.0 && figures.bad_rows == 0);
        }
    }
}

/// softmax of the `k` likeliest.
fn law(logits: &[f32], k: usize) -> Vec<(u32, f64)> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let weight = |c: usize| f64::from(logits[c] - logits[order[0]]).exp();
    let sum: f64 = order[..k].iter().map(|&c| weight(c)).sum();
    (order[..k].iter())
        .map(|&c| (c as u32, weight(c) / sum))
        .collect()
}

#[test]
fn the_law_of_the_output_does_not_move_while_weights_do() {
    const RUNS: usize = 400;
    let device = first();
    let pair = pair(&device);
    let prompt = &pair.tokens[..6];
    let mut scorer = Scorer::new(&pair.target, 32).unwrap_or_else(|e| panic!("{e}"));
    let mut next = |tokens: &[u32]| {
        let logits = (scorer.logits(tokens)).unwrap_or_else(|e| panic!("{e}"));
        let all = logits.to_f32();
        law(&all[all.len() - 512..], 3)
    };
    let mut expected: HashMap<Vec<u32>, f64> = HashMap::new();
    for (a, p) in next(prompt) {
        for (b, q) in next(&[prompt, &[a]].concat()) {
            for (c, r) in next(&[prompt, &[a, b]].concat()) {
                expected.insert(vec![a, b, c], p * q * r);
            }
        }
    }
    let mut online = online(
        &pair,
        OnlineSettings {
            steps: 1,
            ..settings(40)
        },
    );
    let mut found: HashMap<Vec<u32>, usize> = HashMap::new();
    for i in 0..RUNS {
        let sampling = Sampling {
            temperature: 1.0,
            top_k: 3,
            seed: 77 + i as u64,
            ..Sampling::greedy()
        };
        let request = request(3, sampling, DraftLen::Fixed(2));
        let served =
            (online.serve(prompt, &request, &mut |_| ())).unwrap_or_else(|e| panic!("{e}"));
        *found.entry(served.tokens).or_default() += 1;
        online.idle().unwrap_or_else(|e| panic!("{e}"));
    }
    let figures = online.figures();
    assert!(figures.updates >= 8, "{figures:?}");
    assert!(found.keys().all(|k| expected.contains_key(k)));
    let chi2: f64 = (expected.iter())
        .map(|(k, p)| {
            let (n, e) = (*found.get(k).unwrap_or(&0) as f64, p * RUNS as f64);
            (n - e).powi(2) / e
        })
        .sum();
    // 26 degrees of freedom: above 62 once in 10,000 times.
    println!("chi² {chi2:.1} over 27 texts, {} updates", figures.updates);
    assert!(chi2 < 62.0, "{chi2}");
}

#[test]
fn it_gets_better_and_is_saved_and_resumed() {
    let pair = pair(&first());
    let folder = std::env::temp_dir().join(format!("cascadia-online-{}", std::process::id()));
    let with = OnlineSettings {
        save: Some(folder.clone()),
        tolerance: 0.005,
        ..settings(2)
    };
    let request = request(24, Sampling::greedy(), DraftLen::Fixed(3));
    let mut before = None;
    let mut last = None;
    let mut online_ = online(&pair, with.clone());
    for _ in 0..12 {
        let served = online_
            .serve(&pair.tokens[..8], &request, &mut |_| ())
            .unwrap_or_else(|e| panic!("{e}"));
        before = before.or(served.overlap);
        last = served.overlap;
        online_.idle().unwrap_or_else(|e| panic!("{e}"));
    }
    let figures = online_.figures();
    println!("overlap {before:?} to {last:?}, {figures:?}");
    assert!(last > before.map(|b| b + 0.1), "{before:?} {last:?}");
    assert!(figures.save_error.is_none() && figures.updates > 0);
    drop(online_);
    let resumed = online(&pair, with);
    let version = resumed.figures().version;
    std::fs::remove_dir_all(&folder).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(version, figures.version);
    // The session without training measures the same.
    let mut session = Session::new(
        &pair.target,
        Draft::Model(resumed.draft().clone()),
        Room::of(96),
    )
    .unwrap_or_else(|e| panic!("{e}"));
    let watch = Watch {
        rows: 0,
        all: false,
    };
    session.watch(watch).unwrap_or_else(|e| panic!("{e}"));
    let mut generation =
        (session.generate(&pair.tokens[..8], &request)).unwrap_or_else(|e| panic!("{e}"));
    while generation
        .next()
        .unwrap_or_else(|e| panic!("{e}"))
        .is_some()
    {}
    assert!(generation.stats().overlap() > before.map(|b| b + 0.1));
}

#[test]
fn what_diverges_is_rolled_back() {
    let pair = pair(&first());
    let mut online = online(
        &pair,
        OnlineSettings {
            lr: 1e4,
            loss: Loss::Jsd { beta: 0.5 },
            tolerance: 0.0,
            ..settings(1)
        },
    );
    let request = request(24, Sampling::greedy(), DraftLen::Fixed(3));
    let prompt = &pair.tokens[..8];
    let mut alone = alone(&pair);
    for _ in 0..3 {
        let served =
            (online.serve(prompt, &request, &mut |_| ())).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(served.tokens, plain(&mut alone, prompt, 24));
        online.idle().unwrap_or_else(|e| panic!("{e}"));
    }
    let figures = online.figures();
    println!("{figures:?}");
    assert_eq!(
        (figures.rolled_back, figures.updates),
        (3, 0),
        "{figures:?}"
    );
}
