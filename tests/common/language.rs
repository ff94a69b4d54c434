//! Small language models with drawn weights, as folders.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise
#![allow(dead_code)]

use super::Bench;
use cascadia::io::save;
use cascadia::models::language::Config;
use cascadia::tensor::{DType, Tensor};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A Llama of one layer, with the built-in models' vocabulary.
pub fn llama() -> Value {
    json!({"model_type": "llama", "vocab_size": 2048, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "eos_token_id": 1})
}

/// A T5 of one layer on each side.
pub fn t5() -> Value {
    json!({"model_type": "t5", "vocab_size": 128, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1,
        "num_decoder_layers": 1, "num_heads": 2, "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 16, "layer_norm_epsilon": 1e-6, "feed_forward_proj": "relu",
        "decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0, "is_encoder_decoder": true,
        "tie_word_embeddings": true})
}

/// `base` with `field` as `value`.
pub fn but(mut base: Value, field: &str, value: Value) -> Value {
    base[field] = value;
    base
}

/// The tensors of the model that `config` describes.
pub fn tensors(config: &Value) -> Vec<(String, Tensor)> {
    let shapes = match Config::parse(Path::new("config.json"), config).unwrap() {
        Config::Decoder(c) => c.tensors(),
        Config::T5(c) => t5_tensors(c.vocab),
    };
    let mut state = 1u32;
    (shapes.into_iter())
        .map(|(name, shape)| {
            let values: Vec<f32> = (0..shape.iter().product())
                .map(|_: usize| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 8) as f32 / (1 << 24) as f32 - 0.5
                })
                .collect();
            (name, Tensor::from_f32(&shape, &values).unwrap())
        })
        .collect()
}

/// The tensors of [`t5`].
fn t5_tensors(vocab: usize) -> Vec<(String, Vec<usize>)> {
    let mut all = vec![("shared.weight".to_string(), vec![vocab, 32])];
    for (side, parts) in [
        ("encoder", &["SelfAttention"][..]),
        ("decoder", &["SelfAttention", "EncDecAttention"]),
    ] {
        let block = format!("{side}.block.0.layer");
        for (i, part) in parts.iter().enumerate() {
            for name in ["q", "k", "v", "o"] {
                all.push((format!("{block}.{i}.{part}.{name}.weight"), vec![32, 32]));
            }
            all.push((format!("{block}.{i}.layer_norm.weight"), vec![32]));
        }
        let bias = "SelfAttention.relative_attention_bias.weight";
        all.push((format!("{block}.0.{bias}"), vec![8, 2]));
        let ffn = format!("{block}.{}", parts.len());
        all.push((format!("{ffn}.DenseReluDense.wi.weight"), vec![64, 32]));
        all.push((format!("{ffn}.DenseReluDense.wo.weight"), vec![32, 64]));
        all.push((format!("{ffn}.layer_norm.weight"), vec![32]));
        all.push((format!("{side}.final_layer_norm.weight"), vec![32]));
    }
    all
}

/// The built-in models' tokenizer.
pub fn tokenizer() -> Value {
    let path = "assets/language/target/tokenizer.json";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

impl Bench {
    /// A folder with a config.json, these weights, and a tokenizer.json where there is one.
    pub fn model(
        &self,
        name: &str,
        config: &Value,
        weights: &[(String, Tensor)],
        tokenizer: Option<&Value>,
    ) -> PathBuf {
        let file = |file: &str| format!("{name}/{file}");
        self.file(&file("config.json"), config.to_string().as_bytes());
        save(&self.path(&file("model.safetensors")), weights, None).unwrap();
        if let Some(tokenizer) = tokenizer {
            self.file(&file("tokenizer.json"), tokenizer.to_string().as_bytes());
        }
        self.path(name)
    }

    /// A whole model, with a tokenizer.
    pub fn whole(&self, name: &str, config: &Value) -> PathBuf {
        self.model(name, config, &tensors(config), Some(&tokenizer()))
    }

    /// A file of ids for `run`.
    pub fn ids(&self, name: &str, tensors: &[(&str, &[usize], &[i64])]) -> PathBuf {
        let all: Vec<(String, Tensor)> = (tensors.iter())
            .map(|(name, shape, ids)| {
                let bytes = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
                let tensor = Tensor::new(DType::I64, shape, bytes).unwrap();
                (name.to_string(), tensor)
            })
            .collect();
        self.tensors(name, &all)
    }
}
