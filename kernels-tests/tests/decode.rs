//! Speculation changes nothing but the time: greedy tokens are those of plain decoding for every draft, every draft
//! length and every pattern of acceptance (T4), caches are those of a fresh prefill (T5), and a sequence goes on from
//! any state that a request leaves.

use cascadia::device::Device;
use cascadia::engine::language::{
    Draft, DraftLen, Language, Request, Room, Sampling, Session, embedded,
};
use cascadia::plan::Options;
use cascadia::tensor::{DType, Format};
use kernels_tests::harness;
use kernels_tests::language::references;
use std::sync::Arc;

fn request(new: usize, draft_len: DraftLen) -> Request {
    Request {
        max_new: new,
        sampling: Sampling::greedy(),
        draft_len,
        stop: Vec::new(),
        check: false,
    }
}

fn collect(session: &mut Session, prompt: &[u32], request: &Request) -> Vec<u32> {
    let mut generation = session
        .generate(prompt, request)
        .unwrap_or_else(|e| panic!("{e}"));
    let mut all = Vec::new();
    while let Some(tokens) = generation.next().unwrap_or_else(|e| panic!("{e}")) {
        assert!(!tokens.is_empty(), "a round brings at least one token");
        all.extend(tokens);
    }
    all
}

/// lavapipe: the adapter that has f16, too.
fn adapter() -> Device {
    let name = harness::adapters();
    let name = name
        .iter()
        .find(|n| n.contains("llvmpipe"))
        .unwrap_or(&name[0]);
    harness::open(name, false)
}

/// The built-in pair, and a prompt on which the draft is sometimes right.
fn pair(device: &Device, options: &Options) -> ([Arc<Language>; 2], Vec<u32>) {
    let [target, draft] = embedded().unwrap_or_else(|e| panic!("{e}"));
    let tokenizer = target
        .tokenizer()
        .unwrap_or_else(|e| panic!("{e}"))
        .expect("a tokenizer");
    let prompt = tokenizer
        .prompt("impl<T> Vec<T> {\n    /// Returns the number of")
        .unwrap_or_else(|e| panic!("{e}"));
    let open = |files| {
        Arc::new(Language::open(device, Arc::new(files), options).unwrap_or_else(|e| panic!("{e}")))
    };
    ([open(target), open(draft)], prompt)
}

#[test]
fn greedy_tokens_are_those_of_plain_decoding_whatever_the_draft() {
    let device = adapter();
    for (dtype, weights) in [
        (DType::F32, Format::F32),
        (DType::F16, Format::F16),
        (DType::F32, Format::Q8_0),
        (DType::F16, Format::Q4_0),
    ] {
        if dtype == DType::F16 && !device.caps().f16 {
            continue;
        }
        let options = Options {
            weights,
            ..Options::new(dtype)
        };
        let ([target, draft], prompt) = pair(&device, &options);
        let room = Room::of(256);
        let mut plain = Session::new(&target, Draft::None, room).unwrap_or_else(|e| panic!("{e}"));
        let expected = collect(&mut plain, &prompt, &request(40, DraftLen::Off));
        // The target as its own draft accepts everything; n-grams seldom anything.
        for (what, draft) in [
            ("the draft", Draft::Model(draft.clone())),
            ("the target itself", Draft::Model(target.clone())),
            ("n-grams", Draft::Ngram),
        ] {
            let mut session = Session::new(&target, draft, room).unwrap_or_else(|e| panic!("{e}"));
            // Every length by the draft where sums are exact to f32; a few otherwise.
            let lengths: &[usize] = match (weights, what) {
                (Format::F32, "the draft") => &[1, 2, 3, 5, 8, 15],
                _ => &[1, 4],
            };
            for &k in lengths {
                let found = collect(&mut session, &prompt, &request(40, DraftLen::Fixed(k)));
                assert_eq!(found, expected, "{what}, {k} at a time, {weights}");
            }
            let found = collect(&mut session, &prompt, &request(40, DraftLen::Auto));
            assert_eq!(found, expected, "{what}, auto, {weights}");
        }
    }
}

#[test]
fn a_target_that_drafts_for_itself_has_everything_accepted() {
    let device = adapter();
    let ([target, _], prompt) = pair(&device, &Options::new(DType::F32));
    let draft = Draft::Model(target.clone());
    let mut session = Session::new(&target, draft, Room::of(128)).unwrap_or_else(|e| panic!("{e}"));
    for temperature in [0.0, 1.0] {
        let request = Request {
            sampling: Sampling {
                temperature,
                seed: 5,
                ..Sampling::default()
            },
            ..request(31, DraftLen::Fixed(4))
        };
        let mut generation = session
            .generate(&prompt, &request)
            .unwrap_or_else(|e| panic!("{e}"));
        while generation
            .next()
            .unwrap_or_else(|e| panic!("{e}"))
            .is_some()
        {}
        let stats = generation.stats();
        assert_eq!(
            stats.accepted, stats.proposed,
            "temperature {temperature}: {stats:?}"
        );
        assert!(stats.proposed >= 20, "{stats:?}");
    }
}

#[test]
fn seeds_decide_the_tokens() {
    let device = adapter();
    let ([target, draft], prompt) = pair(&device, &Options::new(DType::F32));
    let draft = Draft::Model(draft);
    let mut session = Session::new(&target, draft, Room::of(128)).unwrap_or_else(|e| panic!("{e}"));
    let mut with = |seed, k| {
        let request = Request {
            sampling: Sampling {
                temperature: 1.0,
                seed,
                ..Sampling::default()
            },
            ..request(24, DraftLen::Fixed(k))
        };
        collect(&mut session, &prompt, &request)
    };
    assert_eq!(with(1, 3), with(1, 3));
    assert_eq!(with(1, 0), with(1, 0));
    assert_ne!(with(1, 3), with(2, 3));
}

/// Where lengths go by plans, a seed decides them too, whatever a session measured before.
#[test]
fn seeds_decide_planned_lengths() {
    let device = adapter();
    let ([target, draft], prompt) = pair(&device, &Options::new(DType::F32));
    let sampled = Request {
        sampling: Sampling {
            temperature: 0.8,
            seed: 3,
            ..Sampling::default()
        },
        ..request(48, DraftLen::Planned)
    };
    let run = |before: usize| {
        let draft = Draft::Model(draft.clone());
        let mut session =
            Session::new(&target, draft, Room::of(128)).unwrap_or_else(|e| panic!("{e}"));
        if before > 0 {
            let other: Vec<u32> = prompt.iter().rev().copied().collect();
            collect(&mut session, &other, &request(before, DraftLen::Auto));
        }
        let (mut all, mut lengths) = (Vec::new(), Vec::new());
        let mut generation = session
            .generate(&prompt, &sampled)
            .unwrap_or_else(|e| panic!("{e}"));
        while let Some(tokens) = generation.next().unwrap_or_else(|e| panic!("{e}")) {
            all.extend(tokens);
            lengths.push(generation.stats().draft_lens.clone());
        }
        (all, lengths)
    };
    let (tokens, lengths) = run(0);
    let proposed: usize = lengths.last().map_or(0, |l| l[1..].iter().sum());
    assert!(proposed > 0, "{lengths:?}");
    assert_eq!(run(0), (tokens.clone(), lengths.clone()));
    assert_eq!(run(24), (tokens, lengths));
}

/// Tokens of a fresh session over everything known so far.
fn fresh(target: &Arc<Language>, sequence: &[u32], new: usize) -> Vec<u32> {
    let mut session =
        Session::new(target, Draft::None, Room::of(256)).unwrap_or_else(|e| panic!("{e}"));
    collect(&mut session, sequence, &request(new, DraftLen::Off))
}

#[test]
fn caches_are_those_of_a_fresh_prefill_after_any_acceptance() {
    let device = adapter();
    let ([target, draft], prompt) = pair(&device, &Options::new(DType::F32));
    let room = Room::of(256);
    let mut session =
        Session::new(&target, Draft::Model(draft), room).unwrap_or_else(|e| panic!("{e}"));
    let mut sequence = prompt;
    // Rounds of all kinds, cut short at any place, and at high temperatures, where most is rejected.
    for (i, (k, temperature)) in [(3, 0.0), (0, 1.0), (5, 1.5), (1, 0.0), (8, 1.0)]
        .into_iter()
        .enumerate()
    {
        let request = Request {
            sampling: Sampling {
                temperature,
                seed: i as u64,
                ..Sampling::default()
            },
            ..request(7 + i, DraftLen::Fixed(k))
        };
        sequence.extend(collect(&mut session, &sequence.clone(), &request));
        assert_eq!(session.tokens(), sequence);
        let mut other = Session::new(&target, Draft::None, room).unwrap_or_else(|e| panic!("{e}"));
        collect(&mut other, &sequence, &self::request(1, DraftLen::Off));
        for layer in [0, 5, 11] {
            let of = |s: &Session| s.cache(layer).unwrap_or_else(|e| panic!("{e}"));
            let (mut mine, theirs) = (of(&session), of(&other));
            assert_eq!(mine.len(), 6);
            for (mine, theirs) in mine.iter_mut().zip(&theirs) {
                mine.truncate(theirs.len());
                // The fresh one has seen one token more.
                assert!(mine.len() + 32 >= theirs.len() && !mine.is_empty());
            }
            let worst = (mine.iter().zip(&theirs))
                .flat_map(|(a, b)| a.iter().zip(b))
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(worst <= 1e-4, "layer {layer} after {i}: {worst}");
        }
    }
    // And what it says next is what a fresh one says.
    let next = collect(&mut session, &sequence, &request(12, DraftLen::Fixed(4)));
    assert_eq!(next, fresh(&target, &sequence, 12));
}

#[test]
fn a_conversation_goes_on_where_prompts_part() {
    let device = adapter();
    let ([target, draft], prompt) = pair(&device, &Options::new(DType::F32));
    let draft = Draft::Model(draft);
    let mut session = Session::new(&target, draft, Room::of(256)).unwrap_or_else(|e| panic!("{e}"));
    let first = collect(&mut session, &prompt, &request(9, DraftLen::Fixed(3)));
    // Another turn; then back to a prefix of the first.
    let longer: Vec<u32> = prompt
        .iter()
        .chain(&first)
        .copied()
        .chain([17, 40, 41])
        .collect();
    assert_eq!(
        collect(&mut session, &longer, &request(9, DraftLen::Fixed(3))),
        fresh(&target, &longer, 9)
    );
    let shorter = &prompt[..prompt.len() / 2];
    assert_eq!(
        collect(&mut session, shorter, &request(9, DraftLen::Auto)),
        fresh(&target, shorter, 9)
    );
    // A single token has none before it.
    assert_eq!(
        collect(&mut session, &prompt[..1], &request(9, DraftLen::Fixed(4))),
        fresh(&target, &prompt[..1], 9)
    );
}

#[test]
fn stop_tokens_end_a_text_in_the_midst_of_a_round() {
    let device = adapter();
    let ([target, draft], prompt) = pair(&device, &Options::new(DType::F32));
    let all = fresh(&target, &prompt, 24);
    let draft = Draft::Model(draft);
    let mut session = Session::new(&target, draft, Room::of(128)).unwrap_or_else(|e| panic!("{e}"));
    for at in [0, 3, 10, 17] {
        let stop = all[at];
        let first = all.iter().position(|t| *t == stop).unwrap_or(at);
        let request = Request {
            stop: vec![stop],
            ..request(24, DraftLen::Fixed(5))
        };
        assert_eq!(collect(&mut session, &prompt, &request), all[..=first]);
    }
}

#[test]
fn a_context_that_is_full_is_an_error_and_a_window_slides() {
    let device = adapter();
    let ([target, draft], prompt) = pair(&device, &Options::new(DType::F32));
    let room = Room::of(prompt.len() + 8);
    let mut session =
        Session::new(&target, Draft::Model(draft.clone()), room).unwrap_or_else(|e| panic!("{e}"));
    let message = match session.generate(&prompt, &request(9, DraftLen::Auto)) {
        Ok(_) => panic!("there was no room"),
        Err(e) => e.to_string(),
    };
    assert!(message.contains("room"), "{message}");
    // All that there is room for, with proposals beyond it.
    let found = collect(&mut session, &prompt, &request(8, DraftLen::Fixed(8)));
    assert_eq!(found, fresh(&target, &prompt, 8));
    // A window as long as the text changes nothing; a short one does, and the draft still not.
    let long = Room::sliding(prompt.len() + 40, 4096);
    let mut wide = Session::new(&target, Draft::None, long).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        collect(&mut wide, &prompt, &request(20, DraftLen::Off)),
        fresh(&target, &prompt, 20)
    );
    let short = Room::sliding(prompt.len() + 700, 16);
    let mut plain = Session::new(&target, Draft::None, short).unwrap_or_else(|e| panic!("{e}"));
    let expected = collect(&mut plain, &prompt, &request(60, DraftLen::Off));
    let mut drafted =
        Session::new(&target, Draft::Model(draft), short).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        collect(&mut drafted, &prompt, &request(60, DraftLen::Fixed(4))),
        expected
    );
    assert_ne!(expected, fresh(&target, &prompt, 60));
}

#[test]
fn models_with_encoders_speculate_too() {
    let device = adapter();
    let all = references(0);
    let options = Options::new(DType::F32);
    let reference = &all["t5_relu"];
    let target = reference.open("t5_relu", 0, &device, &options);
    // Other weights of the same shapes: a draft that is mostly wrong.
    let other = reference.open("t5_relu", 1, &device, &options);
    let (_, prompt) = reference.tokens(0);
    let prompt = prompt.expect("an encoder's prompt");
    let expected = reference.greedy16.clone().expect("a continuation");
    for draft in [other, target.clone()] {
        let draft = Draft::Model(draft);
        let mut session =
            Session::new(&target, draft, Room::of(64)).unwrap_or_else(|e| panic!("{e}"));
        for k in [0, 1, 4, 8] {
            let found = collect(&mut session, &prompt, &request(16, DraftLen::Fixed(k)));
            assert_eq!(found, expected, "{k} at a time");
        }
    }
}

#[test]
fn models_that_do_not_go_together_are_refused() {
    let device = adapter();
    let options = Options::new(DType::F32);
    let ([target, draft], _) = pair(&device, &options);
    let all = references(0);
    let other = all["llama_mha"].open("llama_mha", 0, &device, &options);
    let t5 = all["t5_relu"].open("t5_relu", 0, &device, &options);
    for (target, draft, say) in [
        (&target, &other, "vocabulary"),
        (&draft, &target, "parameters"),
        (&other, &t5, "encoder"),
    ] {
        let message = match Session::new(target, Draft::Model(draft.clone()), Room::of(64)) {
            Ok(_) => panic!("{say}"),
            Err(e) => e.to_string(),
        };
        assert!(message.contains(say), "{message}");
    }
}
