//! The law of what speculative decoding says is the target's, whatever the draft: χ² over every continuation of three
//! tokens, on the real kernels. And that the test can tell: each way of getting it wrong fails it.
//!
//! 200,000 runs a configuration, fixed seeds. Of temperatures × lengths × drafts a covering subset is run: every
//! temperature, length and draft at least once, those most likely to go wrong twice.

use cascadia::device::{Executable, Store};
use cascadia::kernels::sample::{DRAFT_FAULT, Settings, TARGET_FAULT, random};
use cascadia::plan::{Buffer, Plan, Role, Step};
use cascadia::shader::{Access, Arg, Category, Cost, Dispatch, KernelSpec, Variant};
use cascadia::tensor::DType;
use kernels_tests::law::{Run, Table, bind, deviation, devices, param};
use std::sync::Arc;

/// One-sided quantile of the normal law for 1e-3 over 32 tests (Bonferroni).
const MOST: f64 = 4.0;

fn near(target: &Table) -> Table {
    let other = Table::random(99, target.vocab);
    let logits = (target.logits.iter().zip(&other.logits)).map(|(a, b)| a + 0.4 * b);
    Table {
        vocab: target.vocab,
        logits: logits.collect(),
    }
}

fn at(temperature: f32) -> Settings {
    Settings {
        temperature,
        ..Settings::default()
    }
}

fn configurations() -> Vec<(&'static str, Run)> {
    let few = Table::random(1, 8).map(|_, v| 1.5 * v);
    let many = Table::random(2, 16).map(|_, v| 1.5 * v);
    let random = Table::random(3, 8);
    let random_many = Table::random(4, 16);
    let lower = few.map(|c, v| if c < 4 { v } else { f32::NEG_INFINITY });
    let upper = random.map(|c, v| if c >= 4 { v } else { f32::NEG_INFINITY });
    let with = |run: Run, settings: Settings| Run { settings, ..run };
    let top_k = Settings {
        top_k: 3,
        ..at(1.0)
    };
    let nucleus = Settings {
        top_p: 0.8,
        min_p: 0.05,
        ..at(1.0)
    };
    let one_hot = few.one_hot();
    let looked_up = Run {
        one_hot: true,
        ..Run::new(&few, &one_hot, 5)
    };
    let in_place = Run {
        in_place: true,
        settings: Settings {
            temperature: 0.8,
            top_k: 6,
            top_p: 0.95,
            penalty: 1.3,
            seed: 7 << 40,
            ..Settings::default()
        },
        ..Run::new(&few, &near(&few), 2)
    };
    vec![
        ("plain, T 1.5", with(Run::new(&few, &few, 0), at(1.5))),
        ("random, k 5", Run::new(&few, &random, 5)),
        (
            "random, k 1, T 0.5",
            with(Run::new(&few, &random, 1), at(0.5)),
        ),
        (
            "near, k 2, T 1.5",
            with(Run::new(&few, &near(&few), 2), at(1.5)),
        ),
        ("near, k 8", Run::new(&few, &near(&few), 8)),
        ("one-hot, k 2", Run::new(&few, &one_hot, 2)),
        ("one-hot without q, k 5", looked_up),
        ("itself, k 5, T 0.5", with(Run::new(&few, &few, 5), at(0.5))),
        ("disjoint, k 5", Run::new(&lower, &upper, 5)),
        ("near, k 2, all settings, in place", in_place),
        ("near of 16, k 1", Run::new(&many, &near(&many), 1)),
        (
            "random of 16, k 2, T 1.5",
            with(Run::new(&many, &random_many, 2), at(1.5)),
        ),
        (
            "near, k 5, top-k",
            with(Run::new(&few, &near(&few), 5), top_k),
        ),
        (
            "random of 16, k 1, top-p, min-p",
            with(Run::new(&many, &random_many, 1), nucleus),
        ),
    ]
}

#[test]
fn every_continuation_comes_as_often_as_the_target_says() {
    let mut failures = Vec::new();
    for (device, batch, batches) in devices() {
        for (i, (name, run)) in configurations().into_iter().enumerate() {
            // On the slow adapter every third.
            if batches == 1 && i % 3 != 1 {
                continue;
            }
            // Transforms where they are needed take their time: a tenth of the runs.
            let batch = if run.in_place { batch / 10 } else { batch };
            let run = Run {
                batch,
                batches,
                ..run
            };
            let begun = std::time::Instant::now();
            let counts = run.counts(&device);
            assert_eq!(counts.iter().sum::<u64>(), (batch * batches) as u64);
            let z = deviation(&counts, &run.target.law(&run.settings));
            println!(
                "{}: {name}: {z:.2} in {:.1?}",
                device.name(),
                begun.elapsed()
            );
            if z.is_nan() || z > MOST {
                failures.push(format!("{}: {name}: {z:.2} deviations", device.name()));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_way_of_getting_it_wrong_shows() {
    let target = Table::random(1, 8).map(|_, v| 1.5 * v);
    let draft = near(&target);
    let run = |k: usize| Run {
        batches: 1,
        ..Run::new(&target, &draft, k)
    };
    let mutated = |name: &'static str, old: &'static str, new: &'static str| Run {
        mutation: Some((name, vec![(old, new)])),
        ..run(2)
    };
    let top_k = Settings {
        top_k: 3,
        ..at(1.0)
    };
    let pick = "let token = pick(part, random_unit(seed, n + a, NEXT), lid);";
    let wrong = [
        ("nothing", run(2)),
        (
            "residual replaced by p",
            mutated("residual", "residual = a < k;", "residual = false;"),
        ),
        (
            "bonus dropped, the last proposal again",
            mutated(
                "bonus",
                pick,
                "var token = pick(part, random_unit(seed, n + a, NEXT), lid);
  if a == k { token = history[known + n + k - 1u]; }",
            ),
        ),
        (
            "q recomputed after an update",
            Run {
                q_replaced: Some((Table::random(50, 8), at(1.0))),
                ..run(2)
            },
        ),
        (
            "accepted where p > q only",
            mutated("greater", "u * q_y < p[", "q_y < p["),
        ),
        (
            "one uniform for two purposes",
            mutated("shared", "const NEXT = 2u;", "const NEXT = 1u;"),
        ),
        (
            "top-k applied to p only: tokens from the draft's three, verified with all of its q",
            Run {
                settings: top_k,
                q_replaced: Some((draft.clone(), at(1.0))),
                ..run(2)
            },
        ),
        (
            "the row of p before the right one",
            mutated(
                "row",
                "p_row = (b * (params.draft_len + 1u) + a) * V;",
                "p_row = (b * (params.draft_len + 1u) + max(a, 1u) - 1u) * V;",
            ),
        ),
    ];
    for (device, batch, batches) in devices() {
        if batches == 1 {
            continue;
        }
        for (name, run) in &wrong {
            let run = Run {
                batch,
                ..run.clone()
            };
            let z = deviation(&run.counts(&device), &target.law(&run.settings));
            println!("{}: {name}: {z:.2}", device.name());
            assert_eq!(
                z > MOST,
                *name != "nothing",
                "{}: {name}: {z:.2}",
                device.name()
            );
        }
    }
}

#[test]
fn acceptance_is_one_minus_the_distance_and_lengths_follow_it() {
    // The same distributions after every pair of tokens: independent trials.
    let (p, q) = (Table::random(21, 16), Table::random(22, 16));
    let same = |t: &Table| Table {
        vocab: 16,
        logits: t.logits[..16].repeat(256),
    };
    let (target, draft, k) = (same(&p), same(&q), 4);
    let s = Settings::default();
    let pairs =
        (target.probabilities(&s, &[0, 0]).into_iter()).zip(draft.probabilities(&s, &[0, 0]));
    let alpha: f64 = pairs.map(|(p, q)| p.min(q)).sum();
    assert!((0.3..0.95).contains(&alpha), "{alpha}");
    for (device, batch, batches) in devices() {
        let run = Run {
            batch,
            batches,
            rounds: 1,
            ..Run::new(&target, &draft, k)
        };
        let (mut first, mut tokens, mut rounds) = (0.0, 0.0, 0.0);
        run.each(&device, |left| {
            for outcome in left.outcome.chunks(left.words) {
                let a = outcome[0] as usize;
                assert_eq!((outcome[1], outcome[2]), (a as u32 + 1, a as u32 + 3));
                assert_eq!(outcome[3], 0);
                let new = &outcome[4..4 + a + 1];
                assert!(
                    new.iter().all(|&t| t < 16)
                        && outcome[4 + a + 1..].iter().all(|&t| t == u32::MAX)
                );
                first += f64::from(u8::from(a > 0));
                tokens += (a + 1) as f64;
                rounds += 1.0;
            }
        });
        let within = 4.0 / f64::sqrt(rounds);
        let found = first / rounds;
        assert!(
            (found - alpha).abs() < within * 0.5,
            "{}: {found}, not {alpha}",
            device.name()
        );
        let expected = (1.0 - alpha.powi(k as i32 + 1)) / (1.0 - alpha);
        let found = tokens / rounds;
        assert!(
            (found - expected).abs() < within * k as f64 / 2.0,
            "{}: {found}, not {expected}",
            device.name()
        );
    }
}

#[test]
fn faulty_logits_are_flagged_and_never_drawn() {
    let good = Table::random(1, 8);
    let three = |value: f32| good.map(|c, v| if c == 3 { value } else { v });
    let all = |value: f32| good.map(|_, _| value);
    let (nan, infinite) = (three(f32::NAN), three(f32::INFINITY));
    let below = three(f32::NEG_INFINITY);
    for (device, _, _) in devices() {
        for (target, draft, flags, drawn) in [
            (&nan, &good, TARGET_FAULT, false),
            (&good, &nan, DRAFT_FAULT, true),
            (&infinite, &nan, TARGET_FAULT | DRAFT_FAULT, false),
            (
                &all(f32::NEG_INFINITY),
                &infinite,
                TARGET_FAULT | DRAFT_FAULT,
                true,
            ),
            (&good, &all(f32::NAN), DRAFT_FAULT, true),
            (&below, &good, 0, false),
            (&below, &below, 0, false),
        ] {
            let run = Run {
                batch: 200,
                batches: 1,
                in_place: true,
                ..Run::new(target, draft, 3)
            };
            run.each(&device, |left| {
                assert!(left.outcome.chunks(left.words).all(|o| o[3] == flags));
                let mut new = left.history.chunks(left.stride).flat_map(|h| &h[2..5]);
                assert!(new.clone().all(|&t| t < 8));
                assert_eq!(new.any(|&t| t == 3), drawn);
            });
        }
    }
}

#[test]
fn the_shaders_generator_is_the_hosts() {
    const N: usize = 1000;
    static SPEC: KernelSpec = KernelSpec {
        path: "uniforms.wgsl",
        source: include_str!("../shaders/uniforms.wgsl"),
        params: &[param("n", 0), param("purpose", 4)],
        binds: &[bind("seeds", Access::Read), bind("y", Access::Write)],
    };
    let seeds: Vec<u32> = (0..N as u32)
        .map(|i| i.wrapping_mul(2_654_435_761))
        .collect();
    let buffer = |name: &str, len: usize| Buffer {
        role: Role::State(name.into()),
        dtype: DType::U32,
        len,
    };
    for (device, _, _) in devices() {
        let plan = Plan {
            dtype: DType::F32,
            steps: vec![Step {
                dispatch: Dispatch {
                    kernel: &SPEC,
                    variant: Variant::new(DType::F32).choose("random", "threefry"),
                    params: [(N as u32).to_le_bytes(), 2u32.to_le_bytes()].concat(),
                    args: vec![Arg(0), Arg(1)],
                    grid: [N.div_ceil(64) as u32, 1, 1],
                    category: Category::Sample,
                    cost: Cost::default(),
                },
                op: "law",
                scope: String::new(),
            }],
            buffers: vec![buffer("seeds", N), buffer("y", 3 * N)],
            slots: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        let store = Store::new(&device);
        let exe = Executable::load_in(&store, Arc::new(plan), &|_| unreachable!()).unwrap();
        store.write("seeds", 0, &seeds).unwrap();
        exe.submit(false).unwrap();
        let found = store.read("y").unwrap().to_u32();
        for (i, (&seed, found)) in seeds.iter().zip(found.chunks(3)).enumerate() {
            let i = i as u32;
            let words = random::bits([seed, i], [i, 2]);
            let whole = u64::from(seed) | u64::from(i) << 32;
            let unit = random::uniform(whole, i, random::Purpose::Next).to_bits();
            assert_eq!(
                found,
                [words[0], words[1], unit],
                "{} at {i}",
                device.name()
            );
        }
    }
}
