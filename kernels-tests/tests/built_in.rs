//! The built-in pair: its tokenizer, what both models say after prompts of every domain, and the perplexities on its
//! card, against transformers in float64 (`references/make_language_pair.py`).

use cascadia::engine::language::{
    Draft, DraftLen, Language, Request, Room, Sampling, Scorer, Session, embedded,
};
use cascadia::plan::Options;
use cascadia::tensor::DType;
use kernels_tests::harness;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Deserialize)]
struct Reference {
    prompts: BTreeMap<String, Prompt>,
    heldout: BTreeMap<String, HeldOut>,
    tokenization: Vec<Text>,
}

#[derive(Deserialize)]
struct Prompt {
    tokens: Vec<u32>,
    target: Said,
    draft: Said,
}

#[derive(Deserialize)]
struct Said {
    argmax: u32,
    greedy48: Vec<u32>,
}

#[derive(Deserialize)]
struct HeldOut {
    tokens: usize,
    perplexity: BTreeMap<String, f64>,
    /// Of the first 255 tokens.
    begin: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    tokens: Vec<u32>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn reference() -> Reference {
    let path = root().join("references/language_pair.json");
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Target and draft in f32 on lavapipe.
fn pair() -> [Arc<Language>; 2] {
    let device = harness::open("llvmpipe", false);
    embedded().unwrap_or_else(|e| panic!("{e}")).map(|files| {
        let model = Language::open(&device, Arc::new(files), &Options::new(DType::F32));
        Arc::new(model.unwrap_or_else(|e| panic!("{e}")))
    })
}

#[test]
fn texts_become_the_tokens_that_transformers_makes_of_them() {
    let [target, _] = embedded().unwrap_or_else(|e| panic!("{e}"));
    let tokenizer = target.tokenizer().unwrap_or_else(|e| panic!("{e}"));
    let tokenizer = tokenizer.expect("a tokenizer");
    for case in reference().tokenization {
        let found = tokenizer.encode(&case.text, false);
        assert_eq!(
            found.unwrap_or_else(|e| panic!("{e}")),
            case.tokens,
            "{:?}",
            case.text
        );
    }
}

#[test]
fn both_models_go_on_as_in_float64() {
    let models = pair();
    for (domain, prompt) in reference().prompts {
        for (model, said) in models.iter().zip([&prompt.target, &prompt.draft]) {
            let session = Session::new(model, Draft::None, Room::of(prompt.tokens.len() + 48));
            let mut session = session.unwrap_or_else(|e| panic!("{e}"));
            let request = Request {
                max_new: 48,
                sampling: Sampling::greedy(),
                draft_len: DraftLen::Off,
                stop: Vec::new(),
                check: false,
            };
            let generation = session.generate(&prompt.tokens, &request);
            let mut generation = generation.unwrap_or_else(|e| panic!("{e}"));
            let mut found = Vec::new();
            while let Some(tokens) = generation.next().unwrap_or_else(|e| panic!("{e}")) {
                found.extend(tokens);
            }
            assert_eq!(found[0], said.argmax, "{domain}");
            assert_eq!(found, said.greedy48, "{domain}");
        }
    }
}

#[test]
fn perplexities_are_those_of_the_card() {
    let models = pair();
    let [files, _] = embedded().unwrap_or_else(|e| panic!("{e}"));
    let tokenizer = files.tokenizer().unwrap_or_else(|e| panic!("{e}"));
    let tokenizer = tokenizer.expect("a tokenizer");
    let perplexity = |model: &Arc<Language>, tokens: &[u32]| {
        let mut scorer = Scorer::new(model, 1024).unwrap_or_else(|e| panic!("{e}"));
        let (mut sum, mut count) = (0.0, 0);
        for piece in tokens.chunks(1023) {
            let window = [&[0], piece].concat();
            let (surprise, scored) = scorer.surprise(&window).unwrap_or_else(|e| panic!("{e}"));
            sum += surprise;
            count += scored;
        }
        (sum / count as f64).exp()
    };
    for (domain, held_out) in reference().heldout {
        let path = root().join(format!("../assets/language/heldout/{domain}.txt"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{e}"));
        let tokens = tokenizer
            .encode(&text, false)
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(tokens.len(), held_out.tokens, "{domain}");
        let agrees = |which: &str, found: f64, wanted: f64| {
            assert!(
                (found - wanted).abs() <= 1e-4 * wanted,
                "{which} on {domain}: {found}, not {wanted}"
            );
        };
        for (which, model) in ["target", "draft"].into_iter().zip(&models) {
            let begin = perplexity(model, &tokens[..255]);
            agrees(which, begin, held_out.begin[which]);
        }
        // All of a text, with windows, of one domain by the draft: more takes a processor minutes.
        if domain == "sql" {
            let all = perplexity(&models[1], &tokens);
            agrees("draft", all, held_out.perplexity["draft"]);
        }
    }
}
