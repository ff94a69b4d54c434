//! A draft that learns while it serves: what the target says never changes by it (T2 of section 5.3 of "Online
//! Speculative Decoding"), it gets better, and what makes it worse is rolled back.

use cascadia::device::Device;
use cascadia::engine::distill::{Loss, Trainer};
use cascadia::engine::language::{
    Draft, DraftLen, Language, Renewal, Request, Room, Sampling, Scorer, Session, Watch,
};
use cascadia::engine::online::{Online, OnlineSettings, Positions};
use cascadia::graph::Source;
use cascadia::plan::Options;
use cascadia::tensor::{DType, Format};
use kernels_tests::distill::{Pair, devices, pair, settings as settings_of, taught};
use kernels_tests::language::references;
use kernels_tests::references::relative_l2;
use std::collections::HashMap;
use std::sync::Arc;

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
        steps: 4,
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
            // Until two updates stood while it served; a slice takes no longer than the round before it.
            for i in 0..24 {
                if i >= 4 && online.figures().updates >= 2 {
                    break;
                }
                let prompt = &pair.tokens[..8 + i % 4];
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
            assert!(figures.updates >= 2, "{figures:?}");
            assert!(figures.serve_update_seconds > 0.0 && figures.bad_rows == 0);
        }
    }
}

/// All weights of the draft as it is served.
fn served(online: &Online) -> Vec<Vec<f32>> {
    let draft = online.draft();
    let sources = draft.sources().unwrap_or_else(|e| panic!("{e}"));
    let read = |s: &Source| draft.values(s).unwrap_or_else(|e| panic!("{e}"));
    sources.iter().map(read).collect()
}

#[test]
fn however_an_update_is_cut_text_and_weights_are_the_same() {
    let pair = pair(&first());
    let mut found: Option<(Vec<u32>, Vec<Vec<f32>>)> = None;
    let mut slices = Vec::new();
    // A dispatch at a time; as many as fit; all at once.
    for slice_ms in [1e-9, 5.0, 1e9] {
        let settings = OnlineSettings {
            share: 0.0,
            slice_ms,
            steps: 2,
            ..settings(2)
        };
        let mut online = online(&pair, settings);
        let request = request(12, Sampling::greedy(), DraftLen::Fixed(3));
        let mut text = Vec::new();
        for i in 0..2 {
            let served = (online.serve(&pair.tokens[..8 + i], &request, &mut |_| ()))
                .unwrap_or_else(|e| panic!("{e}"));
            text.extend(served.tokens);
            online.idle().unwrap_or_else(|e| panic!("{e}"));
        }
        let figures = online.figures();
        assert_eq!(figures.updates, 1, "{figures:?}");
        slices.push(figures.slices);
        let now = (text, served(&online));
        assert!(
            found.get_or_insert_with(|| now.clone()) == &now,
            "{slice_ms}"
        );
    }
    println!("{slices:?} slices");
    assert!(
        slices[0] > 10 * slices[2] && slices[1] >= slices[2],
        "{slices:?}"
    );
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
fn additions_of_low_rank_learn_too_and_are_merged_when_saved() {
    let pair = pair(&first());
    let folder = std::env::temp_dir().join(format!("cascadia-online-rank-{}", std::process::id()));
    let with = OnlineSettings {
        save: Some(folder.clone()),
        low_rank: Some(4),
        tolerance: 0.005,
        ..settings(2)
    };
    let request = request(24, Sampling::greedy(), DraftLen::Fixed(3));
    let (prompt, mut alone) = (&pair.tokens[..8], alone(&pair));
    let mut online_ = online(&pair, with.clone());
    let mut overlaps = Vec::new();
    for _ in 0..8 {
        let served =
            (online_.serve(prompt, &request, &mut |_| ())).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(served.tokens, plain(&mut alone, prompt, 24));
        overlaps.push(served.overlap);
        online_.idle().unwrap_or_else(|e| panic!("{e}"));
    }
    let figures = online_.figures();
    println!("{overlaps:?}, {figures:?}");
    assert!(overlaps[7] > overlaps[0], "{overlaps:?}");
    assert!(figures.save_error.is_none() && figures.updates > 1);
    drop(online_);
    // What was saved is a draft like any, and proposes as well.
    let mut resumed = online(&pair, with);
    let served = (resumed.serve(prompt, &request, &mut |_| ())).unwrap_or_else(|e| panic!("{e}"));
    std::fs::remove_dir_all(&folder).unwrap_or_else(|e| panic!("{e}"));
    assert!(served.overlap > overlaps[0], "{served:?}");
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

#[test]
fn weights_packed_on_the_device_are_those_packed_on_the_host() {
    let device = first();
    let (all, name) = (references(0), "llama_gqa_tied");
    let pair = pair(&device);
    let batch = taught(&pair, &[3, 9, 20, 31]);
    let unwrap = |r: cascadia::Result<Option<Renewal>>| r.unwrap_or_else(|e| panic!("{e}"));
    for format in [Format::F32, Format::F16, Format::Q8_0, Format::Q4_0] {
        let options = Options {
            weights: format,
            ..Options::new(DType::F32)
        };
        let model: Arc<Language> = all[name].open(name, 0, &device, &options);
        let logits = |model: &Arc<Language>| -> Vec<f64> {
            let mut scorer = Scorer::new(model, 64).unwrap_or_else(|e| panic!("{e}"));
            let logits = (scorer.logits(&pair.tokens)).unwrap_or_else(|e| panic!("{e}"));
            logits.to_f32().into_iter().map(f64::from).collect()
        };
        let before = logits(&model);
        let mut trainer =
            Trainer::new(&model, settings_of(Loss::ForwardKl)).unwrap_or_else(|e| panic!("{e}"));
        let step = trainer.step(std::slice::from_ref(&batch));
        assert!(step.unwrap_or_else(|e| panic!("{e}")).applied);
        let host = Arc::new(model.fork().unwrap_or_else(|e| panic!("{e}")));
        let tensors = trainer.export().unwrap_or_else(|e| panic!("{e}"));
        host.replace(&tensors).unwrap_or_else(|e| panic!("{e}"));
        let states = trainer.states().expect("weights are trained themselves");
        let Some(renewal) = unwrap(model.renewal(states, None)) else {
            assert_eq!(format, Format::Q4_0);
            continue;
        };
        renewal.submit().unwrap_or_else(|e| panic!("{e}"));
        let (now, expected) = (logits(&model), logits(&host));
        assert!(
            relative_l2(&before, &expected) > 1e-4,
            "{format}: nothing was learned"
        );
        match format {
            // A division may round otherwise.
            Format::Q8_0 => assert!(relative_l2(&now, &expected) < 1e-3, "{format}"),
            _ => assert!(now == expected, "{format}"),
        }
        // Plans that are loaded later find no constant missing.
        assert!(unwrap(model.renewal(states, Some(renewal))).is_some());
    }
}
