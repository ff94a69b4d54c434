//! A draft that learns from traffic it should not learn from, or by settings that cannot work: what the target says never
//! changes, and the draft that is served stays one that works.

use cascadia::engine::distill::Loss;
use cascadia::engine::language::{Draft, DraftLen, Language, Request, Room, Sampling, Session};
use cascadia::engine::online::{Online, OnlineSettings, Positions};
use cascadia::tensor::Tensor;
use kernels_tests::distill::{Pair, one, pair};
use kernels_tests::weights;

const NEW: usize = 16;

fn request(draft_len: DraftLen) -> Request {
    Request {
        max_new: NEW,
        sampling: Sampling::greedy(),
        draft_len,
        stop: Vec::new(),
        check: false,
    }
}

/// Whatever comes is learned, and at once.
fn settings() -> OnlineSettings {
    OnlineSettings {
        interval: 1,
        max_rows: 64,
        positions: Positions::All,
        lr: 1e-2,
        steps: 2,
        tolerance: 1.0,
        share: 1.0,
        slice_ms: 1e4,
        ..OnlineSettings::default()
    }
}

fn online(pair: &Pair, settings: OnlineSettings) -> Online {
    Online::new(&pair.target, &pair.draft, settings, Room::of(96)).unwrap_or_else(|e| panic!("{e}"))
}

/// What the target says alone.
struct Alone(Session);

impl Alone {
    fn new(pair: &Pair) -> Self {
        let session = Session::new(&pair.target, Draft::None, Room::of(96));
        Self(session.unwrap_or_else(|e| panic!("{e}")))
    }

    fn says(&mut self, prompt: &[u32]) -> Vec<u32> {
        let request = request(DraftLen::Off);
        let mut generation = (self.0.generate(prompt, &request)).unwrap_or_else(|e| panic!("{e}"));
        let mut all = Vec::new();
        while let Some(new) = generation.next().unwrap_or_else(|e| panic!("{e}")) {
            all.extend(new);
        }
        all
    }
}

/// Serves `prompt`, lets the draft learn from it, and checks that the target's own answer came.
fn serve(online: &mut Online, alone: &mut Alone, prompt: &[u32]) {
    let request = request(DraftLen::Fixed(3));
    let served = online.serve(prompt, &request, &mut |_| ());
    let served = served.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(served.tokens, alone.says(prompt));
    online.idle().unwrap_or_else(|e| panic!("{e}"));
}

/// The draft's tensors as they are served.
fn tensors(draft: &Language) -> Vec<Vec<f32>> {
    let files = draft.files().unwrap_or_else(|| panic!("of files"));
    let names = files.weights.names();
    let read = |name: &str| {
        let tensor = (files.weights.values(name)).unwrap_or_else(|e| panic!("{e}"));
        let source = cascadia::graph::Source {
            name: name.into(),
            shape: tensor.shape().to_vec(),
            trainable: true,
        };
        draft.values(&source).unwrap_or_else(|e| panic!("{e}"))
    };
    names.into_iter().map(read).collect()
}

fn finite(online: &Online) -> bool {
    (tensors(online.draft()).iter().flatten()).all(|v| v.is_finite())
}

#[test]
fn noise_and_repetition_change_no_word() {
    let pair = pair(&one());
    let mut alone = Alone::new(&pair);
    let mut online = online(&pair, settings());
    for seed in 10..12 {
        let noise = weights::token_ids(1, 40, 512, seed);
        let noise: Vec<u32> = noise.into_iter().map(|t| t as u32).collect();
        serve(&mut online, &mut alone, &noise);
    }
    for token in [0, 511] {
        serve(&mut online, &mut alone, &[token; 40]);
    }
    serve(&mut online, &mut alone, &pair.tokens[..8]);
    let figures = online.figures();
    println!("{figures:?}");
    // It was indeed taught by it.
    assert!(figures.updates >= 4, "{figures:?}");
    assert!(figures.bad_rows == 0 && finite(&online), "{figures:?}");
}

#[test]
fn a_rate_that_diverges_leaves_the_draft_as_it_was() {
    let pair = pair(&one());
    let mut alone = Alone::new(&pair);
    for loss in [Loss::ForwardKl, Loss::Tv] {
        let mut online = online(
            &pair,
            OnlineSettings {
                loss,
                lr: 1e30,
                tolerance: 0.0,
                ..settings()
            },
        );
        let before = tensors(online.draft());
        for at in 0..2 {
            serve(&mut online, &mut alone, &pair.tokens[at..at + 8]);
        }
        let figures = online.figures();
        let fate = (figures.rolled_back, figures.updates, figures.version);
        assert_eq!(fate, (2, 0, 0), "{loss:?}: {figures:?}");
        assert!(tensors(online.draft()) == before, "{loss:?}");
    }
}

#[test]
fn rows_that_are_no_distributions_are_not_learned() {
    let pair = pair(&one());
    let mut alone = Alone::new(&pair);
    // All is left to idle time, so that rows can be spoilt before it.
    let with = OnlineSettings {
        share: 0.0,
        interval: 2,
        ..settings()
    };
    let mut online = online(&pair, with);
    let before = tensors(online.draft());
    for (i, spoilt) in [f32::NAN, f32::INFINITY, -1.0].into_iter().enumerate() {
        let request = request(DraftLen::Fixed(3));
        let prompt = &pair.tokens[..8];
        let served = online.serve(prompt, &request, &mut |_| ());
        assert_eq!(
            served.unwrap_or_else(|e| panic!("{e}")).tokens,
            alone.says(prompt)
        );
        assert!(!online.pending());
        let (ring, len) = (online.session().kept_in(), 64 * 512);
        ring.write(Session::KEPT, 0, &vec![spoilt.to_bits(); len])
            .unwrap_or_else(|e| panic!("{e}"));
        // The second request's rows are its own again.
        serve(&mut online, &mut alone, &pair.tokens[8..16]);
        let figures = online.figures();
        println!("{figures:?}");
        assert_eq!(figures.bad_rows, (i + 1) * NEW, "{figures:?}");
        // Of the first update a fifth is held out.
        assert_eq!(figures.rows, (i + 1) * NEW - NEW / 5, "{figures:?}");
        assert!(finite(&online));
    }
    assert!(tensors(online.draft()) != before);
}

/// `values` in the place of the tensors that are drawn logits by.
fn spoil(model: &Language, name: &str, value: Option<f32>) {
    let files = model.files().unwrap_or_else(|| panic!("of files"));
    let own = (files.weights.values(name)).unwrap_or_else(|e| panic!("{e}"));
    let values = match value {
        None => own.to_f32(),
        Some(value) => vec![value; own.to_f32().len()],
    };
    let tensor = Tensor::from_f32(own.shape(), &values).unwrap_or_else(|e| panic!("{e}"));
    (model.replace(&[(name.into(), tensor)])).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn logits_that_are_no_numbers_end_a_request_and_no_draft() {
    let pair = pair(&one());
    let mut alone = Alone::new(&pair);
    let mut online = online(&pair, settings());
    serve(&mut online, &mut alone, &pair.tokens[..8]);
    // Of the draft: it proposes what it may, the target says the same, and a next version is well again.
    spoil(online.draft(), "model.norm.weight", Some(f32::MAX));
    let request = request(DraftLen::Fixed(3));
    let served = online.serve(&pair.tokens[2..9], &request, &mut |_| ());
    let served = served.unwrap_or_else(|e| panic!("{e}"));
    assert!(served.stats.draft_faults > 0, "{:?}", served.stats);
    assert_eq!(served.tokens, alone.says(&pair.tokens[2..9]));
    online.idle().unwrap_or_else(|e| panic!("{e}"));
    assert!(finite(&online));
    // Of the target: an error in a line, nothing to learn, and the next request is served as ever.
    let before = (tensors(online.draft()), online.figures().rows);
    spoil(&pair.target, "model.norm.weight", Some(f32::MAX));
    let fails = online.serve(&pair.tokens[3..9], &request, &mut |_| ());
    let said = fails.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(
        said.contains("not all finite") && said.lines().count() == 1,
        "{said}"
    );
    online.idle().unwrap_or_else(|e| panic!("{e}"));
    assert!((tensors(online.draft()), online.figures().rows) == before);
    spoil(&pair.target, "model.norm.weight", None);
    serve(&mut online, &mut alone, &pair.tokens[3..9]);
    let figures = online.figures();
    println!("{figures:?}");
    assert!(figures.updates >= 2 && figures.bad_rows == 0, "{figures:?}");
}
