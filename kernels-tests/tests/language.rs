//! Llama, Qwen2 and T5 against transformers in float64: logits, greedy continuations, whatever the draft.
//! `CASCADIA_MODEL=qwen2` keeps to the models whose name contains it.

use cascadia::device::{Device, Options as With, Without};
use cascadia::engine::language::{
    Draft, DraftLen, Language, Request, Room, Sampling, Scorer, Session,
};
use cascadia::plan::Options;
use cascadia::tensor::quant::{dequantize, quantize};
use cascadia::tensor::{DType, Format};
use kernels_tests::language::{Reference, references};
use kernels_tests::{harness, references::relative_l2};
use std::sync::Arc;

fn chosen(seed: u32) -> impl Iterator<Item = (String, Reference)> {
    let only = std::env::var("CASCADIA_MODEL").unwrap_or_default();
    references(seed)
        .into_iter()
        .filter(move |(name, _)| name.contains(&only))
}

/// Runs `check` of every model × adapter × element type.
fn each(seeds: &[u32], check: impl Fn(&str, &Reference, u32, &Device, &Options)) {
    for adapter in harness::adapters() {
        // Kernels for workgroups on the one, for the lanes of a processor on the other.
        let with = With {
            adapter: Some(adapter.clone()),
            without: Without {
                lanes: adapter.contains("SwiftShader"),
                ..Without::default()
            },
            guard_bytes: 1024,
            ..With::default()
        };
        let device = Device::open(&with).unwrap_or_else(|e| panic!("{adapter}: {e}"));
        for dtype in [DType::F32, DType::F16] {
            if dtype == DType::F16 && !device.caps().f16 {
                continue;
            }
            // The other seeds on one adapter: compiling takes longest on the slower one.
            let slow = device.name().contains("SwiftShader");
            for &seed in seeds.iter().take(if slow { 1 } else { seeds.len() }) {
                for (name, reference) in chosen(seed) {
                    check(&name, &reference, seed, &device, &Options::new(dtype));
                }
            }
        }
    }
}

#[test]
fn logits_agree_with_transformers() {
    each(&[0, 1], |name, reference, seed, device, options| {
        let model = reference.open(name, seed, device, options);
        let (tokens, prompt) = reference.tokens(seed);
        let mut scorer = Scorer::new(&model, 64).unwrap_or_else(|e| panic!("{name}: {e}"));
        if let Some(prompt) = prompt {
            scorer
                .encode(&prompt)
                .unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        let logits = scorer
            .logits(&tokens)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let all: Vec<f64> = logits.to_f32().into_iter().map(f64::from).collect();
        let last = &all[all.len() - reference.last_logits.len()..];
        let error = relative_l2(last, &reference.last_logits);
        let l2 = all.iter().map(|v| v * v).sum::<f64>().sqrt();
        let of_all = (l2 - reference.all_logits.l2).abs() / reference.all_logits.l2;
        let first = relative_l2(&all[..8], &reference.all_logits.first8);
        println!(
            "{} {name} seed {seed} {}: {error:.1e}, all {of_all:.1e}, first {first:.1e}",
            device.name(),
            options.dtype
        );
        let most = if options.dtype == DType::F16 {
            5e-3
        } else {
            1e-5
        };
        assert!(
            error <= most && of_all <= most && first <= most,
            "{name}: {error:.2e} {of_all:.2e} {first:.2e}"
        );
    });
}

fn greedy(new: usize, draft_len: DraftLen) -> Request {
    Request {
        max_new: new,
        sampling: Sampling::greedy(),
        draft_len,
        stop: Vec::new(),
        check: false,
    }
}

#[test]
fn greedy_continuations_are_those_of_transformers() {
    each(&[0, 1], |name, reference, seed, device, options| {
        let model = reference.open(name, seed, device, options);
        let (tokens, prompt) = reference.tokens(seed);
        let expected = reference
            .greedy24
            .as_ref()
            .or(reference.greedy16.as_ref())
            .expect("a continuation");
        let mut session = Session::new(&model, Draft::None, Room::of(128))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let found = collect(
            &mut session,
            prompt.as_deref().unwrap_or(&tokens),
            &greedy(expected.len(), DraftLen::Off),
        );
        if options.dtype == DType::F32 {
            assert_eq!(&found, expected, "{name} seed {seed} on {}", device.name());
        } else {
            // Rounded weights may part from the float64 path at a near tie; they may not at the first token.
            assert_eq!(
                found[0],
                expected[0],
                "{name} seed {seed} on {}",
                device.name()
            );
        }
    });
}

fn collect(session: &mut Session, prompt: &[u32], request: &Request) -> Vec<u32> {
    let mut generation = session
        .generate(prompt, request)
        .unwrap_or_else(|e| panic!("{e}"));
    let mut all = Vec::new();
    while let Some(tokens) = generation.next().unwrap_or_else(|e| panic!("{e}")) {
        all.extend(tokens);
    }
    all
}

/// Every matrix rounded as `format` stores it, row by row.
fn rounded(format: Format) -> impl Fn(&[usize], Vec<f32>) -> Vec<f32> {
    move |shape, values| match *shape {
        // Not T5's bias by distance, which is no matrix of a product.
        [_, k] if k >= 32 => (values.chunks(k))
            .flat_map(|row| {
                let mut back = dequantize(format, &quantize(format, row));
                back.truncate(k);
                back
            })
            .collect(),
        _ => values,
    }
}

#[test]
fn quantised_models_compute_with_the_quantised_weights() {
    let device = harness::open("llvmpipe", false);
    for (name, reference) in chosen(0) {
        for (format, least) in [(Format::Q8_0, 1e-4), (Format::Q4_0, 1e-3)] {
            let logits = |files: cascadia::io::LanguageFiles, weights| {
                let options = Options {
                    weights,
                    ..Options::new(DType::F32)
                };
                let model = Language::open(&device, Arc::new(files), &options)
                    .unwrap_or_else(|e| panic!("{name}: {e}"));
                let mut scorer =
                    Scorer::new(&Arc::new(model), 64).unwrap_or_else(|e| panic!("{name}: {e}"));
                let (tokens, prompt) = reference.tokens(0);
                if let Some(prompt) = prompt {
                    scorer
                        .encode(&prompt)
                        .unwrap_or_else(|e| panic!("{name}: {e}"));
                }
                let logits = scorer
                    .logits(&tokens)
                    .unwrap_or_else(|e| panic!("{name}: {e}"));
                let logits = logits.to_f32();
                logits.into_iter().map(f64::from).collect::<Vec<_>>()
            };
            let quantised = logits(reference.files(&name, 0), format);
            let truth = logits(reference.files_as(&name, 0, rounded(format)), Format::F32);
            let error = relative_l2(&quantised, &truth);
            assert!(error <= 1e-5, "{name} in {format}: {error:.2e}");
            // And the weights are rounded, not what they were.
            let last = &quantised[quantised.len() - reference.last_logits.len()..];
            let rounding = relative_l2(last, &reference.last_logits);
            assert!(
                rounding >= least,
                "{name} in {format}: rounding gives {rounding:.2e}"
            );
        }
    }
}
