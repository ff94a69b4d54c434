//! The tokenizer of a GGUF file's metadata as tokenizer.json and tokenizer_config.json say it.

use super::read::{Meta, one};
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Kinds of tokens, `tokenizer.ggml.token_type`.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

const QWEN2_SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3_SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

struct Vocabulary<'a> {
    path: &'a Path,
    metadata: &'a BTreeMap<String, Meta>,
    tokens: Vec<&'a str>,
    kinds: Vec<i64>,
}

/// tokenizer.json from `metadata`: byte-level pairs (`gpt2`) or SentencePiece's pairs (`llama`).
pub fn tokenizer(path: &Path, metadata: &BTreeMap<String, Meta>) -> Result<Value> {
    let fault = |message: String| Err(Error::file(path, message));
    let beside = "put tokenizer.json beside the file";
    let texts = |key: &str| -> Result<Option<Vec<&str>>> {
        match metadata.get(key) {
            None => Ok(None),
            Some(Meta::Array(all)) => {
                fn text(value: &Meta) -> Option<&str> {
                    match value {
                        Meta::Text(text) => Some(text),
                        _ => None,
                    }
                }
                match all.iter().map(text).collect::<Option<Vec<_>>>() {
                    Some(texts) => Ok(Some(texts)),
                    None => Err(Error::file(
                        path,
                        format!("metadata `{key}` is no array of text"),
                    )),
                }
            }
            Some(other) => {
                let message = format!(
                    "metadata `{key}` is {}; expected an array of text",
                    one(other)
                );
                Err(Error::file(path, message))
            }
        }
    };
    let Some(tokens) = texts("tokenizer.ggml.tokens")? else {
        return fault(format!(
            "has no tokenizer (`tokenizer.ggml.tokens`); {beside}"
        ));
    };
    let kinds = match metadata.get("tokenizer.ggml.token_type") {
        Some(Meta::Array(all)) if all.len() == tokens.len() => (all.iter())
            .map(|kind| match kind {
                Meta::Signed(n) => *n,
                Meta::Unsigned(n) => *n as i64,
                _ => 1,
            })
            .collect(),
        _ => vec![1; tokens.len()],
    };
    let vocabulary = Vocabulary {
        path,
        metadata,
        tokens,
        kinds,
    };
    match metadata.get("tokenizer.ggml.model") {
        Some(Meta::Text(model)) if model == "llama" => vocabulary.pieces(),
        Some(Meta::Text(model)) if model == "gpt2" => {
            let Some(merges) = texts("tokenizer.ggml.merges")? else {
                return fault(format!("has no `tokenizer.ggml.merges`; {beside}"));
            };
            vocabulary.byte_level(&merges)
        }
        other => {
            let found = other.map_or("none".to_string(), one);
            fault(format!(
                "`tokenizer.ggml.model` is {found}; read are llama and gpt2: {beside}"
            ))
        }
    }
}

/// tokenizer_config.json from `metadata`.
pub fn tokenizer_config(metadata: &BTreeMap<String, Meta>) -> Value {
    let mut out = Map::new();
    if let Some(Meta::Text(template)) = metadata.get("tokenizer.chat_template") {
        out.insert("chat_template".into(), template.clone().into());
    }
    let Some(Meta::Array(tokens)) = metadata.get("tokenizer.ggml.tokens") else {
        return out.into();
    };
    for (key, field) in [
        ("bos", "bos_token"),
        ("eos", "eos_token"),
        ("padding", "pad_token"),
        ("unknown", "unk_token"),
    ] {
        let id = metadata.get(&format!("tokenizer.ggml.{key}_token_id"));
        if let Some(Meta::Unsigned(id)) = id
            && let Some(Meta::Text(token)) = usize::try_from(*id).ok().and_then(|id| tokens.get(id))
        {
            out.insert(field.into(), token.clone().into());
        }
    }
    out.into()
}

impl Vocabulary<'_> {
    fn flag(&self, key: &str, default: bool) -> bool {
        match self.metadata.get(&format!("tokenizer.ggml.{key}")) {
            Some(Meta::Bool(b)) => *b,
            _ => default,
        }
    }

    fn token(&self, key: &str) -> Option<(u64, &str)> {
        match self.metadata.get(&format!("tokenizer.ggml.{key}_token_id")) {
            Some(Meta::Unsigned(id)) => {
                let token = self.tokens.get(usize::try_from(*id).ok()?)?;
                Some((*id, token))
            }
            _ => None,
        }
    }

    fn vocab(&self) -> Map<String, Value> {
        let entry = |(id, token): (usize, &&str)| (token.to_string(), Value::from(id));
        self.tokens.iter().enumerate().map(entry).collect()
    }

    fn added(&self) -> Vec<Value> {
        (self.tokens.iter().zip(&self.kinds).enumerate())
            .filter(|(_, (_, kind))| [UNKNOWN, CONTROL, USER_DEFINED].contains(kind))
            .map(|(id, (token, kind))| {
                json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                       "normalized": false, "special": *kind != USER_DEFINED})
            })
            .collect()
    }

    /// What begins and ends a text.
    fn template(&self, begins: bool) -> Value {
        let mut single = vec![json!({"Sequence": {"id": "A", "type_id": 0}})];
        let mut special = Map::new();
        let mut piece = |token: Option<(u64, &str)>| {
            let (id, token) = token?;
            let entry = json!({"id": token, "ids": [id], "tokens": [token]});
            special.insert(token.to_string(), entry);
            Some(json!({"SpecialToken": {"id": token, "type_id": 0}}))
        };
        if self.flag("add_bos_token", begins)
            && let Some(bos) = piece(self.token("bos"))
        {
            single.insert(0, bos);
        }
        if self.flag("add_eos_token", false)
            && let Some(eos) = piece(self.token("eos"))
        {
            single.push(eos);
        }
        if special.is_empty() {
            return Value::Null;
        }
        let pair = [
            single.clone(),
            vec![json!({"Sequence": {"id": "B", "type_id": 1}})],
        ]
        .concat();
        json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special})
    }

    fn byte_level(&self, merges: &[&str]) -> Result<Value> {
        let bytes = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": regex});
        let split = |regex: &str| {
            let split = json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
            json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]})
        };
        let kind = match self.metadata.get("tokenizer.ggml.pre") {
            None => "gpt-2",
            Some(Meta::Text(kind)) => kind,
            Some(other) => {
                let message = format!("`tokenizer.ggml.pre` is {}; expected text", one(other));
                return Err(Error::file(self.path, message));
            }
        };
        let (before, llama3) = match kind {
            "gpt-2" | "default" => (bytes(true), false),
            "qwen2" => (split(QWEN2_SPLIT), false),
            "llama-bpe" | "llama3" | "llama-v3" => (split(LLAMA3_SPLIT), true),
            other => {
                let message = format!(
                    "text is split as `{}` (`tokenizer.ggml.pre`); read are gpt-2, qwen2 and llama-bpe: put \
                     tokenizer.json beside the file",
                    other.escape_debug()
                );
                return Err(Error::file(self.path, message));
            }
        };
        let mut pairs = Vec::with_capacity(merges.len());
        for merge in merges {
            let Some((a, b)) = merge.split_once(' ') else {
                let message = format!("merge `{}` is no pair", merge.escape_debug());
                return Err(Error::file(self.path, message));
            };
            pairs.push([a, b]);
        }
        let normalizer = if kind == "qwen2" {
            json!({"type": "NFC"})
        } else {
            Value::Null
        };
        Ok(json!({
            "version": "1.0",
            "added_tokens": self.added(),
            "normalizer": normalizer,
            "pre_tokenizer": before,
            "post_processor": self.template(llama3),
            "decoder": bytes(true),
            "model": {"type": "BPE", "vocab": self.vocab(), "merges": pairs, "ignore_merges": llama3},
        }))
    }

    /// SentencePiece merges the pair whose piece has the highest score; as an order of merges, that is the pieces'
    /// order.
    fn pieces(&self) -> Result<Value> {
        let scores = match self.metadata.get("tokenizer.ggml.scores") {
            Some(Meta::Array(all)) if all.len() == self.tokens.len() => all,
            _ => {
                let message = "has no `tokenizer.ggml.scores`, one for each token; put tokenizer.json beside the file";
                return Err(Error::file(self.path, message));
            }
        };
        let mut ids = HashMap::new();
        let mut pieces = Vec::new();
        for (id, (&token, score)) in self.tokens.iter().zip(scores).enumerate() {
            let score = match score {
                Meta::Float(score) if self.kinds[id] == 1 => *score,
                _ => continue,
            };
            ids.insert(token, id);
            pieces.push((score, token));
        }
        pieces.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut merges: Vec<[&str; 2]> = Vec::new();
        for (_, token) in pieces {
            let mut pairs: Vec<(usize, usize, usize)> = (token.char_indices().skip(1).take(255))
                .filter_map(|(at, _)| Some((*ids.get(&token[..at])?, *ids.get(&token[at..])?, at)))
                .collect();
            pairs.sort();
            merges.extend(
                pairs
                    .iter()
                    .map(|(_, _, at)| [&token[..*at], &token[*at..]]),
            );
        }
        let prefix = self.flag("add_space_prefix", true);
        let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let before = match prefix {
            true => {
                json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]})
            }
            false => replace,
        };
        let mut after = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if prefix {
            after.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        Ok(json!({
            "version": "1.0",
            "added_tokens": self.added(),
            "normalizer": before,
            "pre_tokenizer": null,
            "post_processor": self.template(true),
            "decoder": {"type": "Sequence", "decoders": after},
            "model": {"type": "BPE", "vocab": self.vocab(), "merges": merges, "fuse_unk": true, "byte_fallback": true,
                      "unk_token": self.token("unknown").map(|(_, token)| token)},
        }))
    }
}
