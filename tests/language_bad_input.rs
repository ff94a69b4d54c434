//! What a user of language models may get wrong: one clear line, an exit code that is not zero, no output, no panic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

mod common;

use cascadia::tensor::{DType, Tensor};
use common::language::{but, llama, t5, tensors, tokenizer};
use common::{Bench, with, words};
use serde_json::json;
use std::path::Path;

/// Runs `generate` of a model.
fn refused(bench: &Bench, model: &Path, extra: &str, says: &[&str]) {
    let line = format!("generate --json --prompt hello {extra} --target");
    bench.fails(&with(&line, &[model]), says);
}

#[test]
fn configurations_that_are_of_no_model_or_of_another() {
    let bench = Bench::new();
    let weights = tensors(&llama());
    for (field, value, says) in [
        ("model_type", json!("gpt_neox"), &["gpt_neox"][..]),
        (
            "rope_scaling",
            json!({"rope_type": "yarn", "factor": 2.0}),
            &["yarn"],
        ),
        ("hidden_act", json!("gelu"), &["gelu"]),
        (
            "num_attention_heads",
            json!(0),
            &["num_attention_heads", "0"],
        ),
        ("hidden_size", json!("big"), &["hidden_size", "big"]),
        (
            "hidden_size",
            json!(64),
            &["do not fit", "[2048, 32], not [2048, 64]"],
        ),
        (
            "num_hidden_layers",
            json!(2),
            &["do not fit", "missing: `model.layers.1."],
        ),
        (
            "tie_word_embeddings",
            json!(false),
            &["missing: `lm_head.weight`"],
        ),
        ("vocab_size", json!(2047), &["[2048, 32], not [2047, 32]"]),
    ] {
        let config = but(llama(), field, value);
        let model = bench.model("model", &config, &weights, Some(&tokenizer()));
        refused(&bench, &model, "", says);
    }
    // Weights with more layers, or with a bias, than the configuration says.
    let more = tensors(&but(llama(), "num_hidden_layers", json!(2)));
    let model = bench.model("more", &llama(), &more, Some(&tokenizer()));
    refused(
        &bench,
        &model,
        "",
        &["9 of its tensors", "`model.layers.1."],
    );
    let biased = tensors(&but(llama(), "attention_bias", json!(true)));
    let model = bench.model("biased", &llama(), &biased, Some(&tokenizer()));
    refused(&bench, &model, "", &["4 of its tensors", ".bias`"]);
    // What published files carry and nobody reads is no fault.
    let mut spare = tensors(&llama());
    let one = Tensor::from_f32(&[1], &[0.0]).unwrap();
    spare.push(("model.layers.0.self_attn.rotary_emb.inv_freq".into(), one));
    let model = bench.model("spare", &llama(), &spare, None);
    bench.works(&with("plan --portable", &[&model]));
}

#[test]
fn files_that_are_missing_short_or_no_model() {
    let bench = Bench::new();
    let model = bench.whole("model", &llama());
    std::fs::create_dir(bench.path("empty")).unwrap();
    refused(&bench, &bench.path("empty"), "", &["no config.json"]);
    refused(&bench, &bench.path("nowhere"), "", &["nowhere"]);
    refused(
        &bench,
        &bench.file("notes.txt", b"notes"),
        "",
        &["notes.txt"],
    );
    refused(
        &bench,
        &bench.file("short.gguf", b"GGUF\x03\0"),
        "",
        &["short.gguf"],
    );
    refused(
        &bench,
        Path::new("owner/name"),
        "",
        &["owner/name", "HF_HUB_OFFLINE"],
    );
    let weights = model.join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    for keep in [0, 5, 100, bytes.len() - 10] {
        std::fs::write(&weights, &bytes[..keep]).unwrap();
        refused(&bench, &model, "", &["model.safetensors"]);
    }
    std::fs::remove_file(&weights).unwrap();
    refused(&bench, &model, "", &["model.safetensors"]);
    let index = json!({"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors",
        "model.embed_tokens.weight": "model-00002-of-00002.safetensors"}});
    bench.file(
        "model/model.safetensors.index.json",
        index.to_string().as_bytes(),
    );
    refused(
        &bench,
        &model,
        "",
        &["2 of its 2 files are missing", "model-00001"],
    );
    bench.file("model/config.json", b"{\"model_type\": ");
    refused(&bench, &model, "", &["config.json"]);
}

#[test]
fn weights_that_are_no_numbers() {
    let bench = Bench::new();
    let ids = bench.ids("ids", &[("tokens", &[1, 2], &[3, 4])]);
    let out = bench.path("out");
    for (bad, text) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let mut all = tensors(&llama());
        let at = all.iter().position(|t| t.0.contains("up_proj")).unwrap();
        let mut values = all[at].1.to_f32();
        values[7] = bad;
        all[at].1 = Tensor::from_f32(all[at].1.shape(), &values).unwrap();
        let model = bench.model("model", &llama(), &all, Some(&tokenizer()));
        let says = ["mlp.up_proj.weight", text, "element 7"];
        refused(&bench, &model, "", &says);
        let mut args = with("run --model", &[&model]);
        args.extend(with("--input", &[&ids]));
        args.extend(with("--output", &[&out]));
        bench.fails(&args, &says);
    }
    assert!(!out.exists());
}

#[test]
fn tokenizers_that_are_damaged_or_another_models() {
    let bench = Bench::new();
    let whole = bench.whole("whole", &llama());
    // More tokens than the embedding has rows.
    let small = but(llama(), "vocab_size", json!(2000));
    let model = bench.whole("small", &small);
    refused(
        &bench,
        &model,
        "",
        &["token 2047", "2000 rows", "another model's"],
    );
    // A draft with another vocabulary, by its tokens and by its size.
    let mut other = tokenizer();
    let swapped = other["model"]["vocab"].as_object_mut().unwrap();
    let word = swapped
        .iter()
        .find(|(_, id)| **id == 300)
        .unwrap()
        .0
        .clone();
    let last = swapped
        .iter()
        .find(|(_, id)| **id == 301)
        .unwrap()
        .0
        .clone();
    (swapped[&word], swapped[&last]) = (json!(301), json!(300));
    let draft = bench.model("draft", &llama(), &tensors(&llama()), Some(&other));
    let mut args = with(
        "generate --json --prompt hello --target",
        &[&whole, "--draft".as_ref()],
    );
    args.push(draft.clone().into());
    bench.fails(&args, &["vocabularies differ: token 300"]);
    let wide = but(llama(), "vocab_size", json!(2049));
    *args.last_mut().unwrap() = bench.whole("wide", &wide).into();
    bench.fails(&args, &["2049 tokens, the target's 2048"]);
    // A draft that is larger, or of another kind.
    let large = but(llama(), "num_hidden_layers", json!(2));
    *args.last_mut().unwrap() = bench.whole("large", &large).into();
    bench.fails(&args, &["it must be the smaller one"]);
    let encoder = but(t5(), "vocab_size", json!(2048));
    *args.last_mut().unwrap() = bench.whole("encoder", &encoder).into();
    bench.fails(&args, &["encoder"]);
    // Files that the tokenizers crate stops at.
    let text = tokenizer().to_string();
    let mut lost = tokenizer();
    lost["model"]["merges"] = json!([["q", "zzq"]]);
    let mut strange = tokenizer();
    strange["pre_tokenizer"] = json!({"type": "Split", "pattern": {"Regex": "(("}, "behavior": "Isolated",
        "invert": false});
    for bytes in [
        b"".to_vec(),
        b"\xff\xfe".to_vec(),
        text.as_bytes()[..text.len() / 2].to_vec(),
        b"{}".to_vec(),
        b"[1, 2]".to_vec(),
        lost.to_string().into_bytes(),
        strange.to_string().into_bytes(),
    ] {
        bench.file("whole/tokenizer.json", &bytes);
        refused(&bench, &whole, "", &["tokenizer.json"]);
    }
    std::fs::remove_file(whole.join("tokenizer.json")).unwrap();
    refused(&bench, &whole, "", &["no tokenizer.json", "--tokens"]);
    bench.fails(&with("chat --target", &[&whole]), &["no tokenizer.json"]);
}

#[test]
fn prompts_and_requests_that_cannot_be() {
    let bench = Bench::new();
    let model = bench.whole("model", &llama());
    for (extra, says) in [
        ("--max-new 0", "--max-new 0"),
        ("--max-new -1", "-1"),
        ("--max-new 64", "beyond the 64"),
        ("--max-new 18446744073709551615", "too many"),
        ("--max-new 8 --context 8", "that there is room for"),
        ("--max-new 8 --context 0", "--context 0"),
        ("--max-new 8 --context 65", "beyond the 64"),
        ("--max-new 8 --context 18446744073709551615", "--context"),
        (
            "--max-new 8 --sliding-window 18446744073709551615",
            "--sliding-window",
        ),
        ("--temperature -1", "temperature"),
        ("--temperature NaN", "temperature"),
        ("--temperature inf", "temperature"),
        ("--top-p 2", "top-p"),
        ("--top-p nan", "top-p"),
        ("--min-p -0.1", "min-p"),
        ("--repetition-penalty 0", "penalty"),
        ("--draft-len 99", "at most 15"),
        ("--draft-len many", "many"),
        ("--weights q2_k", "q2_k"),
        ("--seed -1", "-1"),
    ] {
        refused(&bench, &model, extra, &[says]);
    }
    // The same, where what runs is announced.
    let tokens = |name: &str, text: &[u8], says: &[&str]| {
        let file = bench.file(name, text);
        let mut args = with("generate --max-new 4 --target", &[&model]);
        args.extend(with("--tokens", &[&file]));
        bench.fails(&args, says);
    };
    tokens("empty.json", b"[]", &["the prompt is empty"]);
    tokens(
        "range.json",
        b"[1, 2048]",
        &["token 2048 at position 1", "2048"],
    );
    tokens("huge.json", b"[4294967296]", &["huge.json"]);
    tokens("less.json", b"[-1]", &["less.json", "list of token ids"]);
    tokens("text.json", b"hello", &["text.json", "list of token ids"]);
    tokens("object.json", b"{\"tokens\": [1]}", &["object.json"]);
    tokens("none.json", b"", &["none.json"]);
    tokens(
        "long.json",
        format!("{:?}", [3; 61]).as_bytes(),
        &["beyond the 64"],
    );
    let given = |flag: &str, value: &std::ffi::OsStr, says: &[&str]| {
        let mut args = with("generate --target", &[&model]);
        args.extend([flag.into(), value.to_owned()]);
        bench.fails(&args, says);
    };
    given("--prompt", "".as_ref(), &["the prompt is empty"]);
    let file = bench.file("bad.txt", b"caf\xe9");
    given("--prompt-file", file.as_os_str(), &["bad.txt", "UTF-8"]);
    given(
        "--prompt-file",
        bench.path("nowhere").as_os_str(),
        &["nowhere"],
    );
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        given("--prompt", std::ffi::OsStr::from_bytes(b"\xff"), &["UTF-8"]);
    }
    bench.fails(&with("generate --target", &[&model]), &["--prompt-file"]);
    bench.fails(
        &with("perplexity --target", &[&model, &file]),
        &["bad.txt", "UTF-8"],
    );
    bench.fails(
        &with("perplexity --draft none --target", &[&model, &file]),
        &["--draft"],
    );
    let blank = bench.file("blank.txt", b"");
    bench.fails(
        &with("perplexity --target", &[&model, &blank]),
        &["blank.txt", "0 tokens"],
    );
    bench.fails(&with("chat --target", &[&model]), &["no chat template"]);
    bench.fails(
        &words("generate --prompt a --tokens b"),
        &["cannot be used with"],
    );
}

#[test]
fn inputs_of_run_that_do_not_fit_the_model() {
    let bench = Bench::new();
    let (model, out) = (bench.whole("model", &llama()), bench.path("out"));
    let encoder = bench.model("t5", &t5(), &tensors(&t5()), None);
    let run = |model: &Path, input: &Path, extra: &str, says: &[&str]| {
        let mut args = with(&format!("run {extra} --model"), &[model]);
        args.extend(with("--input", &[input]));
        args.extend(with("--output", &[&out]));
        bench.fails(&args, says);
        assert!(!out.exists(), "{says:?}");
    };
    let ids = |all: &[(&str, &[usize], &[i64])]| bench.ids("ids", all);
    let one: (&str, &[usize], &[i64]) = ("tokens", &[1, 2], &[3, 4]);
    let good = ids(&[one]);
    run(&model, &good, "--features", &["--features"]);
    run(
        &model,
        &good,
        "--weights w.safetensors",
        &["--weights", "q8_0"],
    );
    run(&bench.path("nowhere"), &good, "", &["nowhere"]);
    run(&encoder, &good, "", &["`decoder_tokens`"]);
    let mut args = with("run --weights f16 --input", &[&good]);
    args.extend(with("--output", &[&out]));
    bench.fails(&args, &["give --model"]);
    for (shape, values, says) in [
        (&[1, 2][..], &[3, 2048][..], "[0, 1] is 2048"),
        (&[2, 1], &[3, -1], "[1, 0] is -1"),
        (&[1, 0], &[], "int64 [B, L]"),
        (&[2], &[3, 4], "int64 [B, L]"),
        (&[1, 65], &[3; 65], "beyond the 64"),
    ] {
        run(&model, &ids(&[("tokens", shape, values)]), "", &[says]);
    }
    let two: (&str, &[usize], &[i64]) = ("decoder_tokens", &[2, 1], &[0, 0]);
    run(&encoder, &ids(&[one, two]), "", &["1 sequences", "2"]);
    run(&model, &ids(&[one, two]), "", &["no encoder"]);
    let floats = Tensor::from_f32(&[1, 2], &[1.0, 2.0]).unwrap();
    let half = floats.cast(DType::F16).unwrap();
    let file = bench.tensors("floats", &[("tokens".into(), half)]);
    run(&model, &file, "", &["int64", "F16"]);
    run(
        &model,
        &ids(&[("ids", &[1, 1], &[1])]),
        "",
        &["`tokens`", "`ids`"],
    );
}
