//! A draft with an encoder learns while it serves, too: what the target says never changes by it, it learns by the
//! target's answers or by its own, gets better, and goes on from where it was saved.

use cascadia::engine::language::{DraftLen, Request, Room, Sampling};
use cascadia::engine::online::{Online, OnlineSettings, Positions, Source};
use cascadia::plan::Options;
use cascadia::tensor::DType;
use kernels_tests::distill::one;
use kernels_tests::language::references;

const NEW: usize = 16;

#[test]
fn answers_stay_the_targets_while_the_draft_learns_them() {
    let (device, all) = (one(), references(0));
    let (reference, options) = (&all["flan_t5_gated"], Options::new(DType::F32));
    let target = reference.open("flan_t5_gated", 0, &device, &options);
    // Other weights of the same shapes.
    let draft = reference.open("flan_t5_gated", 1, &device, &options);
    let (_, prompt) = reference.tokens(0);
    let prompt = prompt.expect("an encoder's prompt");
    let expected = reference.greedy16.clone().expect("a continuation");
    let folder = std::env::temp_dir().join(format!("cascadia-online-t5-{}", std::process::id()));
    let request = Request {
        max_new: NEW,
        sampling: Sampling::greedy(),
        draft_len: DraftLen::Fixed(3),
        stop: Vec::new(),
        check: false,
    };
    for source in [Source::Teacher, Source::Student] {
        let settings = OnlineSettings {
            interval: 1,
            max_rows: 64,
            positions: Positions::All,
            source,
            lr: 1e-2,
            steps: 4,
            tolerance: 0.05,
            // All in idle time: so that what is learned does not go by the clock.
            share: 0.0,
            save: (source == Source::Teacher).then(|| folder.clone()),
            ..OnlineSettings::default()
        };
        let make = |settings| {
            let online = Online::new(&target, &draft, settings, Room::of(64));
            online.unwrap_or_else(|e| panic!("{e}"))
        };
        let mut online = make(settings.clone());
        let serve = |online: &mut Online| {
            let served = online.serve(&prompt, &request, &mut |_| ());
            let served = served.unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(served.tokens, expected, "{source:?}");
            online.idle().unwrap_or_else(|e| panic!("{e}"));
            served.overlap.unwrap_or(-1.0)
        };
        let overlaps: Vec<f64> = (0..4).map(|_| serve(&mut online)).collect();
        let figures = online.figures();
        println!("{source:?}: {overlaps:?} {figures:?}");
        assert_eq!((figures.updates, figures.bad_rows), (4, 0), "{figures:?}");
        if source == Source::Student {
            // What it learns along its own answers need not show in the target's at once.
            assert_eq!(figures.own_texts, 4, "{figures:?}");
            assert!(figures.own_tokens >= 4, "{figures:?}");
            continue;
        }
        assert!(overlaps[3] > overlaps[0] + 0.5, "{overlaps:?}");
        assert!(figures.save_error.is_none(), "{figures:?}");
        drop(online);
        let mut resumed = make(settings);
        assert_eq!(resumed.figures().version, figures.version);
        let last = serve(&mut resumed);
        assert!(last > overlaps[0] + 0.5, "{last} after {overlaps:?}");
        std::fs::remove_dir_all(&folder).unwrap_or_else(|e| panic!("{e}"));
    }
}
