//! Tokenizers of GGUF files.

use crate::text::{MERGES, tokenizer, vocabulary};
use crate::write::{Put, gguf, metadata, tensors};
use cascadia::io::text::Tokenizer;
use cascadia::io::{Gguf, LanguageFiles};
use cascadia::tensor::Format;
use serde_json::Value;
use std::path::Path;

#[test]
fn pieces_of_a_gguf_file_are_those_of_sentencepiece() {
    // A small model trained with sentencepiece 0.2 (BPE, byte fallback), and its own encodings.
    let all: Value = serde_json::from_str(include_str!("sentencepiece.json")).unwrap();
    let list = |field: &str| all[field].as_array().unwrap().clone();
    let texts = |field: &str| -> Vec<String> {
        list(field)
            .iter()
            .map(|t| t.as_str().unwrap().to_string())
            .collect()
    };
    let mut with_tokens = metadata("llama");
    for (key, value) in [
        ("model", Put::Text("llama".to_string())),
        ("tokens", Put::Texts(texts("tokens"))),
        (
            "scores",
            Put::F32s(
                list("scores")
                    .iter()
                    .map(|n| n.as_f64().unwrap() as f32)
                    .collect(),
            ),
        ),
        (
            "token_type",
            Put::I32s(
                list("kinds")
                    .iter()
                    .map(|n| n.as_i64().unwrap() as i32)
                    .collect(),
            ),
        ),
        ("unknown_token_id", Put::U32(0)),
    ] {
        with_tokens.push((format!("tokenizer.ggml.{key}"), value));
    }
    let path = tempfile::tempdir().unwrap();
    let path = path.path().join("m.gguf");
    std::fs::write(&path, gguf(&with_tokens, &tensors("llama", Format::F32))).unwrap();
    let t = LanguageFiles::open(&path)
        .unwrap()
        .tokenizer()
        .unwrap()
        .unwrap();
    assert_eq!((t.bos(), t.eos()), (Some(1), Some(2)));
    for (text, ids) in texts("texts").iter().zip(list("ids")) {
        let ids: Vec<u32> = ids
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_u64().unwrap() as u32)
            .collect();
        assert_eq!(t.encode(text, false).unwrap(), ids, "{text:?}");
        assert_eq!(t.encode(text, true).unwrap()[0], 1);
        assert_eq!(t.decode(&ids, true).unwrap(), *text);
        let mut stream = t.stream();
        let pieces: String = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
        assert_eq!(pieces + &stream.finish().unwrap(), *text);
    }
}

#[test]
fn byte_pairs_of_a_gguf_file_are_read() {
    let with = |pre: &str| {
        let mut all = metadata("qwen2");
        for (key, value) in [
            ("model", Put::Text("gpt2".to_string())),
            ("pre", Put::Text(pre.to_string())),
            ("tokens", Put::Texts(vocabulary())),
            (
                "merges",
                Put::Texts(MERGES.map(|(a, b)| format!("{a} {b}")).to_vec()),
            ),
            (
                "token_type",
                Put::I32s((0..264).map(|i| if i < 2 { 3 } else { 1 }).collect()),
            ),
        ] {
            all.push((format!("tokenizer.ggml.{key}"), value));
        }
        all.push((
            "tokenizer.chat_template".to_string(),
            Put::Text("{{ messages[0].content }}".to_string()),
        ));
        Gguf::from_bytes("m.gguf", gguf(&all, &tensors("qwen2", Format::F16))).unwrap()
    };
    let reference = tokenizer();
    for pre in ["qwen2", "gpt-2", "llama-bpe"] {
        let file = with(pre);
        let json = file.tokenizer().unwrap().to_string();
        let t = Tokenizer::new(
            Path::new("m"),
            json.as_bytes(),
            file.tokenizer_config(),
            None,
        )
        .unwrap();
        for text in ["hello hello", "naïve 日本 🙂 it's</s>"] {
            assert_eq!(
                t.encode(text, false).unwrap(),
                reference.encode(text, false).unwrap(),
                "{pre}"
            );
        }
        assert_eq!(
            t.encode("a", true).unwrap().len(),
            if pre == "llama-bpe" { 2 } else { 1 }
        );
        assert!(t.template().is_some());
    }
    let error = with("tekken").tokenizer().unwrap_err().to_string();
    assert!(
        error.contains("`tekken`") && error.contains("tokenizer.json"),
        "{error}"
    );
}
