//! GGUF files that are sound.

use crate::write::{Entry, Put, gguf, metadata, tensors, values};
use cascadia::io::{Gguf, LanguageFiles, Values, Weights};
use cascadia::models::language::{Config, Scaling};
use cascadia::tensor::quant::{dequantize, quantize};
use cascadia::tensor::{DType, Format};
use std::path::Path;

fn open(metadata: &[(String, Put)], tensors: &[Entry]) -> Gguf {
    Gguf::from_bytes("m.gguf", gguf(metadata, tensors)).unwrap()
}

fn config(file: &Gguf) -> cascadia::models::language::DecoderConfig {
    match Config::parse(Path::new("m.gguf"), file.config()).unwrap() {
        Config::Decoder(config) => config,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_has_the_published_names_and_rows() {
    for architecture in ["llama", "qwen2"] {
        for format in [Format::F32, Format::F16, Format::Q8_0, Format::Q4_0] {
            let file = open(&metadata(architecture), &tensors(architecture, format));
            for (name, rows) in [("q_proj", 64), ("k_proj", 32), ("v_proj", 32)] {
                let name = format!("model.layers.0.self_attn.{name}.weight");
                let expected = quantize(format, &values(rows * 64));
                assert_eq!(file.shape(&name).unwrap(), [rows, 64]);
                let found = file.values(&name).unwrap();
                assert_eq!(
                    found.to_f32(),
                    dequantize(format, &expected),
                    "{architecture} {format} {name}"
                );
                match &found {
                    Values::Blocks {
                        format: f,
                        bytes,
                        shape,
                    } => {
                        assert!(format.quantised() && *f == format);
                        assert_eq!((bytes, shape.as_slice()), (&expected, &[rows, 64][..]));
                    }
                    Values::Tensor(tensor) => assert_eq!(tensor.bytes(), expected),
                }
            }
            // What the configuration asks for is what the file has.
            let wanted = config(&file).tensors();
            assert_eq!(
                file.names().count(),
                wanted.len() - 3 * usize::from(architecture == "qwen2")
            );
            for (name, shape) in wanted.iter().filter(|(n, _)| !n.ends_with("bias")) {
                assert_eq!(file.shape(name).unwrap(), shape, "{name}");
            }
        }
    }
}

#[test]
fn biases_follow_their_rows_and_bf16_is_kept() {
    let mut all = tensors("llama", Format::F16);
    let mut ordered = Vec::new();
    for head in 0..2 {
        for pair in 0..16 {
            ordered.extend([head * 32 + pair, head * 32 + 16 + pair].map(|i| i as f32));
        }
    }
    all.push(Entry::stored(
        "blk.0.attn_q.bias",
        &[64],
        Format::F32,
        &ordered,
    ));
    all.push(Entry::new("output.weight", &[64, 10], 30, vec![0x80; 1280]));
    let file = open(&metadata("llama"), &all);
    let expected: Vec<f32> = (0..64).map(|i| i as f32).collect();
    assert_eq!(
        file.values("model.layers.0.self_attn.q_proj.bias")
            .unwrap()
            .to_f32(),
        expected
    );
    let Values::Tensor(head) = file.values("lm_head.weight").unwrap() else {
        panic!("blocks");
    };
    assert_eq!((head.dtype(), head.shape()), (DType::BF16, &[10, 64][..]));
    assert!(config(&file).qkv_bias && !config(&file).tied);
}

#[test]
fn the_metadata_is_a_configuration() {
    let file = open(&metadata("llama"), &tensors("llama", Format::F16));
    let found = config(&file);
    assert_eq!(
        (found.hidden, found.layers, found.heads, found.kv_heads),
        (64, 1, 2, 1)
    );
    assert_eq!(
        (found.head_dim, found.intermediate, found.vocab),
        (32, 96, 10)
    );
    assert_eq!(
        (found.eps, found.max_positions, found.tied),
        (1e-5, 256, true)
    );
    assert_eq!(
        (found.rotary.base, found.rotary.scaling),
        (500000.0, Scaling::None)
    );
    assert_eq!((found.bos, found.eos), (Some(1), vec![2]));

    let mut linear = metadata("qwen2");
    linear.push((
        "qwen2.rope.scaling.type".to_string(),
        Put::Text("linear".to_string()),
    ));
    linear.push(("qwen2.rope.scaling.factor".to_string(), Put::F32(4.0)));
    let file = open(&linear, &tensors("qwen2", Format::F16));
    assert_eq!(
        config(&file).rotary.scaling,
        Scaling::Linear { factor: 4.0 }
    );

    let factors: Vec<f32> = (0..16).map(|i| 1.0 + i as f32 / 2.0).collect();
    let mut all = tensors("llama", Format::F16);
    all.push(Entry::stored(
        "rope_freqs.weight",
        &[16],
        Format::F32,
        &factors,
    ));
    let file = open(&metadata("llama"), &all);
    let expected = factors.iter().map(|&f| f64::from(f)).collect();
    assert_eq!(config(&file).rotary.scaling, Scaling::Factors(expected));
    assert!(!file.contains("rope_freqs.weight"));
}

#[test]
fn a_model_is_a_file_a_folder_or_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let bytes = gguf(&metadata("llama"), &tensors("llama", Format::Q8_0));
    std::fs::write(&path, &bytes).unwrap();
    std::fs::write(
        folder.path().join("generation_config.json"),
        r#"{"top_k": 7}"#,
    )
    .unwrap();
    for found in [
        LanguageFiles::open(&path),
        LanguageFiles::open(folder.path()),
    ] {
        let found = found.unwrap();
        assert_eq!(found.generation.top_k, Some(7));
        assert!(matches!(found.weights, Weights::Gguf(_)));
        assert_eq!(Config::of(&found).unwrap().vocab(), 10);
        let wanted = match Config::of(&found).unwrap() {
            Config::Decoder(config) => config.tensors(),
            Config::T5(_) => panic!("a T5"),
        };
        found
            .weights
            .fit(wanted.iter().map(|(n, s)| (n.as_str(), s.as_slice())))
            .unwrap();
    }
    std::fs::write(folder.path().join("n.gguf"), &bytes).unwrap();
    let message = LanguageFiles::open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("several .gguf files"), "{message}");
}

#[test]
fn a_file_of_another_writer_is_read() {
    // Written with the Python package gguf 0.19.0, q and k permuted as llama.cpp's converter does. The figures are
    // of the values before that, dequantised by the package: their sum, and that of each by the sine of its index.
    let file = Gguf::from_bytes("llama.gguf", include_bytes!("llama.gguf").to_vec()).unwrap();
    let expected: [(&str, &[usize], f64, f64); 12] = [
        ("model.embed_tokens.weight", &[8, 32], 2.558218, 2.462130),
        (
            "model.layers.0.input_layernorm.weight",
            &[32],
            5.635616,
            0.778241,
        ),
        (
            "model.layers.0.self_attn.q_proj.weight",
            &[32, 32],
            16.631561,
            -3.599164,
        ),
        (
            "model.layers.0.self_attn.k_proj.weight",
            &[16, 32],
            10.851990,
            -2.849554,
        ),
        (
            "model.layers.0.self_attn.v_proj.weight",
            &[16, 32],
            1.467785,
            -1.038724,
        ),
        (
            "model.layers.0.self_attn.o_proj.weight",
            &[32, 32],
            -12.590027,
            -2.059497,
        ),
        (
            "model.layers.0.post_attention_layernorm.weight",
            &[32],
            2.226393,
            -1.048215,
        ),
        (
            "model.layers.0.mlp.gate_proj.weight",
            &[64, 32],
            -12.389545,
            -14.871066,
        ),
        (
            "model.layers.0.mlp.up_proj.weight",
            &[64, 32],
            -19.606148,
            -25.565709,
        ),
        (
            "model.layers.0.mlp.down_proj.weight",
            &[32, 64],
            10.810059,
            1.272642,
        ),
        ("model.norm.weight", &[32], -0.303696, 1.742470),
        ("lm_head.weight", &[8, 32], 1.248703, -0.475785),
    ];
    assert_eq!(file.names().count(), expected.len());
    for (name, shape, sum, dot) in expected {
        let values = file.values(name).unwrap();
        assert_eq!(values.shape(), shape, "{name}");
        let (mut s, mut d) = (0.0, 0.0);
        for (i, value) in values.to_f32().into_iter().enumerate() {
            s += f64::from(value);
            d += f64::from(value) * (i as f64).sin();
        }
        assert!(
            (s - sum).abs() < 1e-4 && (d - dot).abs() < 1e-4,
            "{name}: {s} {d}"
        );
    }
    let found = config(&file);
    assert_eq!((found.heads, found.kv_heads, found.head_dim), (4, 2, 8));
    assert_eq!(
        (found.rotary.base, found.rotary.scaling),
        (10000.0, Scaling::Linear { factor: 2.0 })
    );
    assert_eq!((found.eps, found.tied, found.vocab), (1e-5, false, 8));
    #[cfg(feature = "text")]
    {
        let json = file.tokenizer().unwrap().to_string();
        let path = Path::new("llama.gguf");
        let config = file.tokenizer_config();
        let t = cascadia::io::text::Tokenizer::new(path, json.as_bytes(), config, None).unwrap();
        assert_eq!(t.encode("ab", true).unwrap(), [1, 6, 5]);
        assert!(t.template().is_some());
    }
}
