//! Configurations as they are published, and one line for each that cannot be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

use cascadia::Result;
use cascadia::models::language::{
    Activation, Config, DecoderConfig, Family, Rotary, Scaling, T5Config, rotary_table,
};
use serde_json::{Value, json};
use std::path::Path;

fn parse(value: Value) -> Result<Config> {
    Config::parse(Path::new("config.json"), &value)
}

fn decoder(value: Value) -> DecoderConfig {
    match parse(value).unwrap() {
        Config::Decoder(config) => config,
        other => panic!("{other:?}"),
    }
}

fn t5(value: Value) -> T5Config {
    match parse(value).unwrap() {
        Config::T5(config) => config,
        other => panic!("{other:?}"),
    }
}

fn with(mut base: Value, field: &str, value: Value) -> Value {
    base[field] = value;
    base
}

#[track_caller]
fn refused(value: Value, parts: &[&str]) {
    let message = parse(value).unwrap_err().to_string();
    assert!(
        message.starts_with("config.json: ") && !message.contains('\n'),
        "{message}"
    );
    for part in parts {
        assert!(message.contains(part), "no `{part}` in {message}");
    }
}

fn llama() -> Value {
    json!({"architectures": null, "attention_bias": false, "bos_token_id": 1, "eos_token_id": 2, "head_dim": 32,
        "hidden_act": "silu", "hidden_size": 128, "intermediate_size": 344, "max_position_embeddings": 512,
        "mlp_bias": false, "model_type": "llama", "num_attention_heads": 4, "num_hidden_layers": 3,
        "num_key_value_heads": 4, "pad_token_id": null, "rms_norm_eps": 1e-06,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "tie_word_embeddings": false,
        "transformers_version": "5.17.0", "vocab_size": 512})
}

fn llama3() -> Value {
    json!({"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 64,
        "rope_theta": 500000.0, "rope_type": "llama3"})
}

fn qwen2() -> Value {
    json!({"architectures": ["Qwen2ForCausalLM"], "bos_token_id": null, "eos_token_id": null, "hidden_act": "silu",
        "hidden_size": 128, "intermediate_size": 256, "layer_types": ["full_attention", "full_attention"],
        "max_position_embeddings": 512, "max_window_layers": 28, "model_type": "qwen2", "num_attention_heads": 4,
        "num_hidden_layers": 2, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "sliding_window": null,
        "tie_word_embeddings": true, "use_sliding_window": false, "vocab_size": 512, "rope_theta": 1000000.0})
}

fn flan() -> Value {
    json!({"d_ff": 128, "d_kv": 16, "d_model": 64, "decoder_start_token_id": 0, "eos_token_id": 1,
        "feed_forward_proj": "gated-gelu", "is_encoder_decoder": true, "layer_norm_epsilon": 1e-06,
        "model_type": "t5", "num_decoder_layers": 2, "num_heads": 4, "num_layers": 2, "pad_token_id": 0,
        "relative_attention_max_distance": 128, "relative_attention_num_buckets": 32,
        "scale_decoder_outputs": false, "tie_word_embeddings": true, "vocab_size": 512})
}

#[test]
fn llamas_are_read() {
    let config = decoder(llama());
    assert_eq!(
        (config.family, config.hidden, config.layers),
        (Family::Llama, 128, 3)
    );
    assert_eq!((config.heads, config.kv_heads, config.head_dim), (4, 4, 32));
    assert_eq!(
        (config.intermediate, config.vocab, config.eps),
        (344, 512, 1e-6)
    );
    assert_eq!(
        (
            config.tied,
            config.qkv_bias,
            config.output_bias,
            config.mlp_bias
        ),
        (false, false, false, false)
    );
    assert_eq!((config.bos, config.eos.as_slice()), (Some(1), &[2][..]));
    assert_eq!(config.rotary.scaling, Scaling::None);
    let (names, shapes): (Vec<_>, Vec<_>) = config.tensors().into_iter().unzip();
    assert_eq!(names.len(), 3 + 3 * 9);
    let at = names
        .iter()
        .position(|n| n == "model.layers.2.mlp.down_proj.weight")
        .unwrap();
    assert_eq!(shapes[at], [128, 344]);
    // Grouped heads, a width of their own, several ends, biases, what old files leave out.
    let mut other = llama();
    other["num_key_value_heads"] = json!(2);
    other["head_dim"] = json!(16);
    other["eos_token_id"] = json!([3, 4]);
    other["attention_bias"] = json!(true);
    let config = decoder(other);
    assert_eq!((config.query_width(), config.kv_width()), (64, 32));
    assert_eq!(
        (config.eos.as_slice(), config.qkv_bias, config.output_bias),
        (&[3, 4][..], true, true)
    );
    let mut old = llama();
    for field in [
        "head_dim",
        "num_key_value_heads",
        "rope_parameters",
        "attention_bias",
        "mlp_bias",
        "rms_norm_eps",
    ] {
        old.as_object_mut().unwrap().remove(field);
    }
    let config = decoder(old);
    assert_eq!(
        (config.kv_heads, config.head_dim, config.rotary.base),
        (4, 32, 10000.0)
    );
    let mistral = with(
        with(llama(), "model_type", json!("mistral")),
        "sliding_window",
        json!(null),
    );
    assert_eq!(decoder(mistral).family, Family::Mistral);
}

#[test]
fn both_spellings_of_rotary_scaling_are_read() {
    let new = decoder(with(llama(), "rope_parameters", llama3())).rotary;
    let llama3_1 = Scaling::Llama3 {
        factor: 8.0,
        low: 1.0,
        high: 4.0,
        original: 64,
    };
    assert_eq!(
        new,
        Rotary {
            base: 500000.0,
            scaling: llama3_1.clone()
        }
    );
    let mut old = llama();
    old.as_object_mut().unwrap().remove("rope_parameters");
    old["rope_theta"] = json!(500000.0);
    let mut scaling = llama3();
    scaling.as_object_mut().unwrap().remove("rope_theta");
    old["rope_scaling"] = scaling;
    assert_eq!(decoder(old.clone()).rotary, new);
    old["rope_scaling"] = json!({"type": "linear", "factor": 2.0});
    assert_eq!(
        decoder(old.clone()).rotary.scaling,
        Scaling::Linear { factor: 2.0 }
    );
    old["rope_scaling"] = json!(null);
    assert_eq!(
        decoder(old).rotary,
        Rotary {
            base: 500000.0,
            scaling: Scaling::None
        }
    );
}

#[test]
fn qwens_and_t5s_are_read() {
    let config = decoder(qwen2());
    assert_eq!(
        (config.family, config.head_dim, config.rotary.base),
        (Family::Qwen2, 32, 1e6)
    );
    assert_eq!(
        (config.qkv_bias, config.output_bias, config.tied),
        (true, false, true)
    );
    assert!(config.eos.is_empty() && config.bos.is_none());
    let config = t5(flan());
    assert_eq!(
        (
            config.hidden,
            config.head_dim,
            config.heads,
            config.decoder_layers
        ),
        (64, 16, 4, 2)
    );
    assert_eq!(
        (config.activation, config.scale_output, config.tied),
        (Activation::GatedGelu, false, true)
    );
    assert_eq!(
        (config.buckets, config.max_distance, config.decoder_start),
        (32, 128, 0)
    );
    // The scale follows the tie where nothing else is said.
    let plain = with(
        with(flan(), "scale_decoder_outputs", json!(null)),
        "feed_forward_proj",
        json!("relu"),
    );
    let config = t5(plain.clone());
    assert_eq!(
        (config.scale_output, config.activation),
        (true, Activation::Relu)
    );
    let untied = t5(with(plain.clone(), "tie_word_embeddings", json!(false)));
    assert_eq!((untied.scale_output, untied.tied), (false, false));
    assert!(!t5(with(plain, "model_type", json!("mt5"))).scale_output);
}

#[test]
fn what_cannot_be_is_named() {
    refused(json!([]), &["JSON object"]);
    refused(json!({}), &["`architectures`"]);
    refused(
        json!({"architectures": ["GPT2LMHeadModel"]}),
        &["GPT2LMHeadModel", "Qwen2ForCausalLM"],
    );
    refused(json!({"model_type": "phi"}), &["`phi`"]);
    refused(
        json!({"model_type": "llama"}),
        &["`hidden_size` is missing"],
    );
    for (field, value, part) in [
        (
            "num_key_value_heads",
            json!(3),
            "no multiple of `num_key_value_heads`, 3",
        ),
        ("head_dim", json!(31), "`head_dim` is 31"),
        ("hidden_size", json!(0), "`hidden_size` is 0"),
        ("hidden_size", json!(-4), "`hidden_size` is -4"),
        ("vocab_size", json!(1u64 << 40), "`vocab_size`"),
        ("rms_norm_eps", json!(0), "`rms_norm_eps` is 0"),
        ("hidden_act", json!("gelu"), "`gelu`; expected silu"),
        ("eos_token_id", json!(512), "vocabulary's 512"),
        ("tie_word_embeddings", json!("yes"), "true or false"),
        (
            "partial_rotary_factor",
            json!(0.5),
            "`partial_rotary_factor` is 0.5",
        ),
        (
            "rope_parameters",
            json!({"rope_type": "yarn", "factor": 4}),
            "`yarn`",
        ),
        (
            "rope_parameters",
            json!({"rope_type": "linear"}),
            "`rope_parameters.factor` is missing",
        ),
        (
            "rope_parameters",
            json!({"rope_type": "factors", "factors": [1, 2]}),
            "2 rotary factors",
        ),
        ("rope_scaling", json!(3), "expected an object"),
        (
            "rope_parameters",
            with(llama3(), "high_freq_factor", json!(1.0)),
            "`high_freq_factor` is 1",
        ),
    ] {
        refused(with(llama(), field, value), &[part]);
    }
    refused(
        with(
            with(llama(), "head_dim", json!(null)),
            "hidden_size",
            json!(130),
        ),
        &["`hidden_size` is 130"],
    );
    refused(
        with(
            llama(),
            "quantization_config",
            json!({"quant_method": "gptq"}),
        ),
        &["`quantization_config`"],
    );
    refused(
        with(qwen2(), "use_sliding_window", json!(true)),
        &["sliding window"],
    );
    refused(
        with(qwen2(), "layer_types", json!(["sliding_attention"])),
        &["sliding window"],
    );
    refused(
        with(flan(), "feed_forward_proj", json!("gated-silu")),
        &["`gated-silu`"],
    );
    refused(
        with(flan(), "relative_attention_max_distance", json!(16)),
        &["max_distance"],
    );
    refused(with(flan(), "d_kv", json!(1.5)), &["`d_kv` is 1.5"]);
}

#[test]
fn angles_are_those_of_transformers() {
    // Position, pair, cosine, sine: transformers 5.17.0's frequencies for these fields, in f64; heads of 32.
    let check = |parameters: Value, expected: &[(usize, usize, f32, f32)]| {
        let rotary = decoder(with(llama(), "rope_parameters", parameters)).rotary;
        let table = rotary_table(&rotary, 32, 1001);
        assert_eq!(table.len(), 1001 * 32);
        for &(position, pair, cos, sin) in expected {
            let at = position * 32 + pair * 2;
            assert!(
                (table[at] - cos).abs() < 1e-7 && (table[at + 1] - sin).abs() < 1e-7,
                "{position} {pair}"
            );
        }
    };
    check(
        json!({"rope_type": "default", "rope_theta": 10000.0}),
        &[
            (0, 5, 1.0, 0.0),
            (3, 3, 0.86104065, 0.50853616),
            (1000, 7, 0.48296225, -0.87564117),
            (1000, 15, 0.9842302, 0.17689219),
        ],
    );
    check(
        json!({"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}),
        &[
            (1, 0, 0.87758255, 0.47942555),
            (1000, 3, 0.5821904, 0.8130525),
            (1000, 9, -0.94607925, 0.3239352),
        ],
    );
    check(
        llama3(),
        &[
            (3, 0, -0.9899925, 0.14112),
            (1000, 3, -0.31545562, -0.94894034),
            (1000, 7, 0.9205029, 0.39073575),
            (1000, 15, 0.9999998, 0.0005677088),
        ],
    );
    check(
        with(llama3(), "original_max_position_embeddings", json!(8192)),
        &[
            (1000, 7, -0.9975613, -0.06979655),
            (3, 3, 0.9673621, 0.253398),
            (1000, 9, 0.9969715, 0.07776795),
        ],
    );
    let factors: Vec<f64> = (1..=16).map(f64::from).collect();
    let rotary = decoder(with(
        llama(),
        "rope_parameters",
        json!({"rope_type": "factors", "factors": factors}),
    ))
    .rotary;
    assert!((rotary.frequencies(32)[1] - 0.5623413251903491 / 2.0).abs() < 1e-15);
}
