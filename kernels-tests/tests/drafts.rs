//! Many drafts of one target: whose turn it is changes no text, each learns from its own requests alone, and those that
//! are parked on the host come back as they were.

use cascadia::engine::language::{Draft, DraftLen, Request, Room, Sampling, Session};
use cascadia::engine::online::{
    ArmFigures, BASE, Drafts, DraftsSettings, NGRAM, Online, OnlineSettings, Source,
};
use kernels_tests::distill::{Pair, one, pair};
use std::path::Path;

const NEW: usize = 16;

fn request() -> Request {
    Request {
        max_new: NEW,
        sampling: Sampling::greedy(),
        draft_len: DraftLen::Fixed(3),
        stop: Vec::new(),
        check: false,
    }
}

fn online() -> OnlineSettings {
    OnlineSettings {
        interval: 1,
        max_rows: 64,
        lr: 3e-3,
        steps: 2,
        // All in idle time: so that what is learned does not go by the clock.
        share: 0.0,
        tolerance: 1.0,
        ..OnlineSettings::default()
    }
}

fn drafts(pair: &Pair, settings: DraftsSettings) -> Drafts {
    let (base, room) = (Some(pair.draft.clone()), Room::of(64));
    Drafts::new(&pair.target, base, Vec::new(), settings, room).unwrap_or_else(|e| panic!("{e}"))
}

fn learning(folder: Option<&Path>, memory: Option<u64>) -> DraftsSettings {
    DraftsSettings {
        online: Some(online()),
        folder: folder.map(Path::to_path_buf),
        memory,
    }
}

/// Serves one request and learns; its tokens, which draft it was, and Σ min(p, q).
fn serve(drafts: &mut Drafts, prompt: &[u32], label: Option<&str>) -> (Vec<u32>, String, f64) {
    let mut streamed: Vec<u32> = Vec::new();
    let routed = drafts
        .serve(prompt, &request(), label, &mut |t, _| streamed.extend(t))
        .unwrap_or_else(|e| panic!("{e}"));
    drafts.idle().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(streamed, routed.served.tokens);
    assert_eq!(routed.labelled, label.is_some());
    let overlap = routed.served.overlap.unwrap_or(-1.0);
    (routed.served.tokens, routed.draft, overlap)
}

fn plain(pair: &Pair, prompt: &[u32]) -> Vec<u32> {
    let mut session =
        Session::new(&pair.target, Draft::None, Room::of(64)).unwrap_or_else(|e| panic!("{e}"));
    let mut generation = (session.generate(prompt, &request())).unwrap_or_else(|e| panic!("{e}"));
    let mut all = Vec::new();
    while let Some(tokens) = generation.next().unwrap_or_else(|e| panic!("{e}")) {
        all.extend(tokens);
    }
    all
}

fn of<'a>(figures: &'a [ArmFigures], name: &str) -> &'a ArmFigures {
    figures
        .iter()
        .find(|f| f.name == name)
        .unwrap_or_else(|| panic!("no {name} in {figures:?}"))
}

/// Bytes on the device of a draft that has learned.
fn bytes(figures: &[ArmFigures], name: &str) -> u64 {
    of(figures, name).bytes
}

#[test]
fn parked_drafts_come_back_as_they_were_and_no_text_changes() {
    let pair = pair(&one());
    let prompts = [&pair.tokens[..8], &pair.tokens[8..18]];
    let expected = prompts.map(|p| plain(&pair, p));
    let order = [("a", 0), ("b", 1), ("a", 0), ("b", 1), ("a", 0)];
    let mut seen: Vec<Vec<f64>> = Vec::new();
    let mut memory = None;
    for bounded in [false, true] {
        let mut drafts = drafts(&pair, learning(None, memory.filter(|_| bounded)));
        let mut overlaps = Vec::new();
        for (label, which) in order {
            let (tokens, draft, overlap) = serve(&mut drafts, prompts[which], Some(label));
            assert_eq!((tokens, draft.as_str()), (expected[which].clone(), label));
            overlaps.push(overlap);
            if let Some(most) = memory.filter(|_| bounded) {
                assert!(drafts.bytes() <= most, "{:?}", drafts.figures());
            }
        }
        let figures = drafts.figures();
        println!("bounded: {bounded}, {overlaps:?}");
        let [a, b] = ["a", "b"].map(|name| of(&figures, name));
        let learned = |f: &ArmFigures| f.online.as_ref().map_or(0, |o| o.updates);
        assert_eq!([learned(a), learned(b)], [3, 2]);
        assert_eq!([a.requests, b.requests, a.tokens], [3, 2, 3 * NEW]);
        assert_eq!(
            [
                of(&figures, NGRAM).bytes,
                of(&figures, NGRAM).requests as u64
            ],
            [0, 0]
        );
        match bounded {
            true => {
                // Each time the other one was taken, and last b.
                assert_eq!([a.parked, b.parked], [2, 2], "{figures:?}");
                assert!(a.bytes > 0 && b.bytes == 0);
            }
            false => {
                assert_eq!([a.parked, b.parked], [0, 0]);
                assert_eq!(drafts.bytes(), a.bytes + b.bytes);
                // Weights, two moments and what can be gone back to, in f32, at the least.
                let least = 16 * pair.draft.parameters().unwrap_or(0);
                assert!(a.bytes > least && b.bytes > least, "{figures:?}");
                memory = Some(bytes(&figures, "a").max(bytes(&figures, "b")) * 5 / 4);
            }
        }
        // The first request of each is by the draft that both begin as; then it learned.
        assert!(overlaps[4] > overlaps[0], "{overlaps:?}");
        seen.push(overlaps);
    }
    assert_eq!(seen[0], seen[1], "parking changes nothing");
    // Less than one needs is refused before anything is done.
    let (base, small) = (Some(pair.draft.clone()), learning(None, Some(1000)));
    let refused = Drafts::new(&pair.target, base, Vec::new(), small, Room::of(64));
    let message = refused.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(
        message.contains("draft `base` takes") && message.contains("1000"),
        "{message}"
    );
}

#[test]
fn drafts_are_saved_apart_resumed_and_locked() {
    let pair = pair(&one());
    let prompt = &pair.tokens[..8];
    let folder = std::env::temp_dir().join(format!("cascadia-drafts-{}", std::process::id()));
    let folder = folder.as_path();
    let mut first = drafts(&pair, learning(Some(folder), None));
    let begins = serve(&mut first, prompt, Some("sql")).2;
    for _ in 0..3 {
        serve(&mut first, prompt, Some("sql"));
    }
    // Each of those without a label that was never tried comes first.
    let tried: Vec<String> = (0..3).map(|_| serve(&mut first, prompt, None).1).collect();
    assert_eq!(tried, [NGRAM, BASE, "sql"]);
    let refused = Drafts::new(
        &pair.target,
        None,
        Vec::new(),
        learning(Some(folder), None),
        Room::of(64),
    );
    let message = refused.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(
        message.contains("another process") && !message.contains('\n'),
        "{message}"
    );
    let before = first.figures();
    // The fifth request of a draft is held out as a whole: it teaches nothing.
    let version = |f: &ArmFigures| f.online.as_ref().map_or(0, |o| o.version);
    assert_eq!(
        [version(of(&before, "sql")), version(of(&before, BASE))],
        [4, 1]
    );
    drop(first);
    for name in ["sql", BASE] {
        assert!(folder.join(name).join("model.safetensors").is_file());
    }

    // One that learns goes on from there.
    let mut second = drafts(&pair, learning(Some(folder), None));
    assert_eq!(second.names(), [NGRAM, BASE, "sql"]);
    let known = second.figures();
    for name in [NGRAM, BASE, "sql"] {
        assert_eq!(of(&known, name).saved, of(&before, name).saved);
        assert!(of(&known, name).saved.is_some());
    }
    let resumed = serve(&mut second, prompt, Some("sql")).2;
    assert!(resumed > begins, "{begins} {resumed}");
    assert_eq!(version(of(&second.figures(), "sql")), 5);
    drop(second);

    // One that stays as it is serves what was learned, and begins nothing.
    let still = DraftsSettings {
        folder: Some(folder.to_path_buf()),
        ..DraftsSettings::default()
    };
    let mut third = drafts(&pair, still);
    let last = serve(&mut third, prompt, Some("sql")).2;
    assert!(last > begins, "{begins} {last}");
    let refused = third.serve(prompt, &request(), Some("math"), &mut |_, _| ());
    let message = refused.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(
        message.contains("no draft `math`; there are ngram, base, sql"),
        "{message}"
    );
    std::fs::remove_dir_all(folder).unwrap_or_else(|e| panic!("{e}"));
    for wrong in ["", "..", "a/b", "a b", &"x".repeat(65)] {
        assert!(third.check(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn without_a_label_the_draft_that_saves_most_serves() {
    let pair = pair(&one());
    // The target as its own draft: everything is accepted.
    let named = vec![("same".to_string(), pair.target.clone())];
    let settings = DraftsSettings::default();
    let base = Some(pair.draft.clone());
    let mut drafts = Drafts::new(&pair.target, base, named, settings, Room::of(64))
        .unwrap_or_else(|e| panic!("{e}"));
    let expected = plain(&pair, &pair.tokens[..8]);
    let mut taken = Vec::new();
    for _ in 0..24 {
        let (tokens, draft, _) = serve(&mut drafts, &pair.tokens[..8], None);
        assert_eq!(tokens, expected);
        taken.push(draft);
    }
    let figures = drafts.figures();
    let same = taken[12..].iter().filter(|d| *d == "same").count();
    println!("{taken:?} {:?}", of(&figures, "same").saved);
    // Four tokens a run.
    assert!(of(&figures, "same").saved > Some(0.7));
    assert!(of(&figures, BASE).saved < Some(0.5));
    assert!(same >= 10, "{taken:?}");
}

#[test]
fn compressed_distributions_and_own_texts_teach_too() {
    let pair = pair(&one());
    let prompt = &pair.tokens[..8];
    let expected = plain(&pair, prompt);
    for (keep_top, source) in [(Some(0.9), Source::Teacher), (None, Source::Student)] {
        let settings = OnlineSettings {
            keep_top,
            source,
            steps: 4,
            max_rows: 500,
            ..online()
        };
        let mut online = Online::new(&pair.target, &pair.draft, settings, Room::of(64))
            .unwrap_or_else(|e| panic!("{e}"));
        let mut overlaps = Vec::new();
        for _ in 0..4 {
            let served = online
                .serve(prompt, &request(), &mut |_| ())
                .unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(served.tokens, expected);
            overlaps.extend(served.overlap);
            assert_eq!(
                online.figures().host_bytes,
                0,
                "an update takes them at once"
            );
            online.idle().unwrap_or_else(|e| panic!("{e}"));
        }
        let figures = online.figures();
        println!("{overlaps:?} {figures:?}");
        assert!(overlaps[3] > overlaps[0], "{overlaps:?}");
        assert_eq!((figures.updates, figures.bad_rows), (4, 0));
        let dropped = figures.dropped;
        match keep_top {
            Some(top) => {
                let most = 1.0 - f64::from(top);
                assert_eq!((figures.own_texts, figures.lost_rows), (0, 0));
                assert!(dropped.rows >= 4 && dropped.bytes < dropped.whole_bytes);
                assert!(
                    dropped.mean > 0.0 && dropped.most <= most + 1e-6,
                    "{dropped:?}"
                );
                assert!(dropped.tv_most <= most + 2e-3, "{dropped:?}");
            }
            None => {
                assert_eq!((figures.own_texts, dropped.rows), (4, 0));
                // Every token of the draft's answers, which are at most as long as those that were served.
                assert!((4..4 * NEW).contains(&figures.own_tokens), "{figures:?}");
            }
        }
    }
}
