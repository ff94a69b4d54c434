//! Tokenizers and chat templates.

use cascadia::io::text::{ChatTemplate, Message, Tokenizer};
use cascadia::io::utf8;
use serde_json::{Value, json};
use std::path::Path;

/// The character by which a byte-level vocabulary writes each byte.
fn byte_characters() -> Vec<String> {
    let mut next = 256;
    let character = |b: u32| {
        let plain = matches!(b, 33..=126 | 161..=172 | 174..=255);
        let code = if plain { b } else { next };
        next += u32::from(!plain);
        char::from_u32(code).unwrap().to_string()
    };
    (0..256).map(character).collect()
}

pub const MERGES: [(&str, &str); 6] = [
    ("h", "e"),
    ("l", "l"),
    ("he", "ll"),
    ("hell", "o"),
    ("Ġ", "hello"),
    ("ð", "Ł"),
];

pub fn vocabulary() -> Vec<String> {
    let mut all = vec!["<s>".to_string(), "</s>".to_string()];
    all.extend(byte_characters());
    all.extend(MERGES.iter().map(|(a, b)| format!("{a}{b}")));
    all
}

/// tokenizer.json: bytes and a few pairs, `<s>` before each text.
fn json(tokens: &[String]) -> Vec<u8> {
    let vocab: serde_json::Map<String, Value> = tokens
        .iter()
        .enumerate()
        .map(|(i, t)| (t.clone(), json!(i)))
        .collect();
    let special = |id: usize| {
        json!({"id": id, "content": tokens[id], "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true})
    };
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let whole = json!({
        "version": "1.0",
        // As some publishers leave them; a prompt must be neither cut nor filled.
        "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": {"strategy": {"Fixed": 32}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "<s>"},
        "added_tokens": [special(0), special(1)],
        "normalizer": null,
        "pre_tokenizer": bytes,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
        "decoder": bytes,
        "model": {"type": "BPE", "vocab": vocab, "merges": MERGES.map(|(a, b)| [a, b])},
    });
    whole.to_string().into_bytes()
}

fn config() -> Value {
    json!({"bos_token": "<s>", "eos_token": {"content": "</s>", "special": true}, "pad_token": null,
        "chat_template": "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"})
}

pub fn tokenizer() -> Tokenizer {
    Tokenizer::new(
        Path::new("tokenizer.json"),
        &json(&vocabulary()),
        config(),
        None,
    )
    .unwrap()
}

#[test]
fn text_goes_there_and_back() {
    let t = tokenizer();
    assert_eq!(t.vocabulary(), 2 + 256 + 6);
    assert_eq!((t.bos(), t.eos(), t.pad()), (Some(0), Some(1), None));
    let hello = t.id("hello").unwrap();
    assert_eq!(
        t.encode("hello hello", true).unwrap(),
        [0, hello, t.id("Ġhello").unwrap()]
    );
    assert_eq!(t.encode("hello", false).unwrap(), [hello]);
    assert_eq!(t.encode("hello</s>", false).unwrap(), [hello, 1]);
    let many: Vec<String> = (0..37).map(|i| "hello".repeat(i % 5)).collect();
    let each = many.iter().map(|text| t.encode(text, false).unwrap());
    assert_eq!(t.encode_all(&many).unwrap(), each.collect::<Vec<_>>());
    let long = "naïve 日本 🙂 ".repeat(40);
    let ids = t.encode(&long, true).unwrap();
    assert!(ids.len() > 200);
    assert_eq!(t.decode(&ids, true).unwrap(), long);
    assert_eq!(t.decode(&[0, hello, 1], false).unwrap(), "<s>hello</s>");
    assert!(
        t.prompt("")
            .unwrap_err()
            .to_string()
            .contains("the prompt is empty")
    );
    assert_eq!(t.prompt("hello").unwrap(), [0, hello]);
    let error = utf8("the prompt", vec![b'a', 0xff])
        .unwrap_err()
        .to_string();
    assert!(error.contains("0xff at offset 1"), "{error}");
}

#[test]
fn a_stream_gives_whole_characters() {
    let t = tokenizer();
    for text in ["hello hello", "naïve 日本 🙂🙂!", "🙂", ""] {
        let ids = t.encode(text, true).unwrap();
        let mut stream = t.stream();
        let mut out = String::new();
        for id in ids {
            let piece = stream.push(id).unwrap();
            assert!(!piece.contains('\u{fffd}'), "{text}: {piece}");
            out += &piece;
        }
        out += &stream.finish().unwrap();
        assert_eq!(out, text);
    }
    // Half a character at the end is shown for what it is, once.
    let half = t.encode("a🙂", false).unwrap();
    let mut stream = t.stream();
    assert_eq!(stream.push(half[0]).unwrap(), "a");
    assert_eq!(stream.push(half[1]).unwrap(), "");
    assert_eq!(stream.finish().unwrap(), "\u{fffd}");
    assert_eq!(stream.finish().unwrap(), "");
    // Bytes that never become a character do not wait for ever.
    let stray = t.id("Ģ").unwrap();
    let mut stream = t.stream();
    let pieces: Vec<String> = (0..40).map(|_| stream.push(stray).unwrap()).collect();
    assert!(
        pieces.iter().filter(|p| !p.is_empty()).count() >= 4,
        "{pieces:?}"
    );
    let all = pieces.concat() + &stream.finish().unwrap();
    assert_eq!(all, t.decode(&[stray; 40], true).unwrap());
}

#[test]
fn vocabularies_that_differ_are_told_apart() {
    let t = tokenizer();
    t.agree(&tokenizer()).unwrap();
    let other = |tokens: &[String]| {
        Tokenizer::new(Path::new("draft.json"), &json(tokens), Value::Null, None).unwrap()
    };
    let mut swapped = vocabulary();
    swapped.swap(40, 41);
    let error = t.agree(&other(&swapped)).unwrap_err().to_string();
    assert!(
        error.contains("token 40 is `") && error.contains("draft.json"),
        "{error}"
    );
    let mut longer = vocabulary();
    longer.push("more".to_string());
    for error in [t.agree(&other(&longer)), other(&longer).agree(&t)] {
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("token 264") && error.contains("none") && error.contains("`more`"),
            "{error}"
        );
    }
}

fn conversation() -> Vec<Message> {
    vec![
        Message::new("system", " Be brief. "),
        Message::new("user", "Hi <there> 'x'"),
        Message::new("assistant", "<think>no</think>\n\nHello\n"),
        Message::new("user", "Bye "),
    ]
}

#[test]
fn templates_are_rendered_as_transformers_does() {
    // The expected text is transformers 5.17.0's.
    let render = |source: &str, messages: &[Message], answer| {
        ChatTemplate::new(Path::new("t"), source.to_string(), &config()).render(messages, answer)
    };
    let all = conversation();
    let zephyr = include_str!("templates/zephyr.jinja");
    assert_eq!(
        render(zephyr, &all, true).unwrap(),
        "<|system|>\n Be brief. </s>\n<|user|>\nHi <there> 'x'</s>\n<|assistant|>\n<think>no</think>\n\nHello\n</s>\n\
         <|user|>\nBye </s>\n<|assistant|>\n"
    );
    assert_eq!(
        render(zephyr, &all[1..2], false).unwrap(),
        "<|user|>\nHi <there> 'x'</s>\n"
    );
    let strict = include_str!("templates/strict.jinja");
    assert_eq!(
        render(strict, &all, true).unwrap(),
        "<s>[INST] Be brief.\n\nHi <there> 'x' [/INST] Hello\n</s>[INST] Bye [/INST]{\"a\": [1, \"<é>\"], \"b\": null} 4"
    );
    let error = render(strict, &all[2..], true).unwrap_err().to_string();
    assert!(
        error.contains("roles must alternate") && !error.contains('\n'),
        "{error}"
    );
    assert!(
        render(strict, &[], true)
            .unwrap_err()
            .to_string()
            .contains("no message")
    );
    for (source, part) in [
        ("{% if %}", "chat template"),
        ("{{ messages[0].content.nosuch() }}", "chat template"),
        (
            "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
            "chat template",
        ),
        ("{{ strftime_now('%!') }}", "strftime_now"),
    ] {
        let error = render(source, &all, true).unwrap_err().to_string();
        assert!(
            error.contains(part) && !error.contains('\n'),
            "{source}: {error}"
        );
    }
}

#[test]
fn a_conversation_is_tokens() {
    let t = tokenizer();
    let ids = t.chat(&[Message::new("user", "hello")]).unwrap();
    assert_eq!(t.decode(&ids, false).unwrap(), "<s>user: hello</s>");
    let bare = Tokenizer::new(
        Path::new("tokenizer.json"),
        &json(&vocabulary()),
        Value::Null,
        None,
    )
    .unwrap();
    let error = bare.chat(&conversation()).unwrap_err().to_string();
    assert!(error.contains("no chat template"), "{error}");
    let named = json!({"chat_template": [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]});
    assert_eq!(ChatTemplate::source(&named).as_deref(), Some("yes"));
}

#[test]
fn what_is_no_tokenizer_is_refused() {
    let lost = String::from_utf8(json(&vocabulary()))
        .unwrap()
        .replace("\"hello\"", "\"jello\"");
    let error = Tokenizer::new(
        Path::new("tokenizer.json"),
        lost.as_bytes(),
        Value::Null,
        None,
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "tokenizer.json: merge `hello` gives no token of the vocabulary"
    );
    for bytes in [
        &b""[..],
        b"{}",
        b"[1]",
        b"{\"model\": {\"type\": \"none\"}}",
        b"\xff\xfe",
        b"version https://git-lfs",
    ] {
        let error = Tokenizer::new(Path::new("tokenizer.json"), bytes, Value::Null, None)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("tokenizer.json: ") && !error.contains('\n') && error.len() < 600,
            "{error}"
        );
    }
}

#[test]
fn no_mutation_of_a_tokenizer_panics() {
    let sound = json(&vocabulary());
    let mut state = 1u64;
    let mut next = |below: usize| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let mut read = 0;
    for _ in 0..3000 {
        let mut bytes = sound.clone();
        for _ in 0..=next(3) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes[at] = next(256) as u8,
                1 => bytes[at] = b"0123456789,:[]{}\"-"[next(18)],
                2 => bytes.truncate(at.max(1)),
                _ => drop(bytes.drain(at..(at + next(40)).min(bytes.len()))),
            }
            if bytes.is_empty() {
                bytes.push(b'{');
            }
        }
        if let Ok(t) = Tokenizer::new(Path::new("t"), &bytes, config(), None) {
            read += 1;
            if let Ok(ids) = t.encode("hello 日本 🙂</s>", true) {
                let _ = t.decode(&ids, false);
            }
            let _ = (t.decode(&[u32::MAX, 3], true), t.agree(&t));
        }
    }
    assert!(read > 100, "{read} read");
}
