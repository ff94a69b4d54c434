//! GGUF files that are not sound: one clear line, no panic, no allocation beyond the file's own size.

use crate::write::{Entry, Put, gguf, metadata, tensors};
use cascadia::io::Gguf;
use cascadia::tensor::Format;

#[track_caller]
fn refused(bytes: Vec<u8>, parts: &[&str]) {
    let message = Gguf::from_bytes("m.gguf", bytes).unwrap_err().to_string();
    assert!(
        message.starts_with("m.gguf: ") && !message.contains('\n'),
        "{message}"
    );
    assert!(message.len() < 600, "{message}");
    for part in parts {
        assert!(message.contains(part), "no `{part}` in {message}");
    }
}

fn sound() -> Vec<u8> {
    gguf(&metadata("llama"), &tensors("llama", Format::Q8_0))
}

fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut out = sound();
    out[at..at + bytes.len()].copy_from_slice(bytes);
    out
}

/// A sound file with one tensor more.
fn one_more(entry: Entry) -> Vec<u8> {
    let mut all = tensors("llama", Format::F32);
    all.push(entry);
    gguf(&metadata("llama"), &all)
}

#[test]
fn what_is_no_gguf_file_is_called_what_it_is() {
    assert!(Gguf::from_bytes("m.gguf", sound()).is_ok());
    refused(Vec::new(), &["0 bytes"]);
    refused(b"GGUF".to_vec(), &["4 bytes"]);
    refused(vec![b'x'; 100], &["does not begin with GGUF"]);
    refused(patched(4, &1u32.to_le_bytes()), &["version 1"]);
    refused(patched(4, &3u32.to_be_bytes()), &["big-endian"]);
    refused(patched(4, &99u32.to_le_bytes()), &["version 99"]);
    let folder = tempfile::tempdir().unwrap();
    let message = Gguf::open(folder.path()).unwrap_err().to_string();
    assert!(
        message.contains("expected a GGUF file, found a folder"),
        "{message}"
    );
}

#[test]
fn counts_are_checked_before_they_are_believed() {
    let huge = u64::MAX.to_le_bytes();
    refused(patched(8, &huge), &["declares", "tensors"]);
    refused(patched(16, &huge), &["declares", "keys"]);
    refused(
        patched(16, &(1u64 << 15).to_le_bytes()),
        &["declares", "keys"],
    );
    // The length of the first key's name, and of its text.
    refused(patched(24, &huge), &["truncated or damaged"]);
    refused(patched(24 + 8 + 20 + 4, &huge), &["truncated or damaged"]);
    let mut long = metadata("llama");
    long.push(("x".to_string(), Put::F32s(vec![1.5; 4])));
    let mut bytes = gguf(&long, &tensors("llama", Format::F32));
    let at = bytes
        .windows(16)
        .position(|w| w == [6, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0x3f])
        .unwrap();
    bytes[at + 4..at + 12].copy_from_slice(&(1u64 << 60).to_le_bytes());
    refused(bytes.clone(), &["`x`", "1152921504606846976 values"]);
    bytes[at] = 9;
    refused(bytes, &["array of values of type 9"]);
    refused(
        patched(24 + 8 + 20, &77u32.to_le_bytes()),
        &["a value of type 77"],
    );
}

#[test]
fn tensors_have_their_places() {
    let entry = |dimensions: &[u64], kind: u32, bytes: usize| {
        Entry::new("t", dimensions, kind, vec![0; bytes])
    };
    refused(
        one_more(entry(&[32], 12, 20)),
        &["`t`", "Q4_K", "read are F32"],
    );
    refused(one_more(entry(&[32], 1000, 20)), &["number 1000"]);
    refused(one_more(entry(&[33], 8, 68)), &["blocks of 32"]);
    refused(
        one_more(entry(&[1 << 40, 1 << 40], 0, 4)),
        &["[1099511627776, 1099511627776]"],
    );
    refused(one_more(entry(&[1 << 40], 0, 4)), &["beyond the end"]);
    refused(one_more(entry(&[1; 5], 0, 4)), &["5 dimensions"]);
    refused(one_more(entry(&[], 0, 4)), &["0 dimensions"]);
    let at = |offset: u64| Entry {
        offset: Some(offset),
        ..entry(&[4], 0, 16)
    };
    refused(one_more(at(8)), &["offset 8", "alignment, 32"]);
    refused(one_more(at(32)), &["overlaps"]);
    refused(one_more(at(u64::MAX - 31)), &["beyond the end"]);
    refused(
        one_more(Entry::new("token_embd.weight", &[4], 0, vec![0; 16])),
        &["token_embd.weight", "twice"],
    );
    refused(
        one_more(Entry::new("model.norm.weight", &[4], 0, vec![0; 16])),
        &["under two names"],
    );
    let mut twice = metadata("llama");
    twice.push(twice[3].clone());
    refused(gguf(&twice, &[]), &["stands twice"]);
    for wrong in [0, 24, 1 << 30] {
        let mut aligned = metadata("llama");
        aligned.push(("general.alignment".to_string(), Put::U32(wrong)));
        refused(gguf(&aligned, &[]), &["`general.alignment` is"]);
    }
}

#[test]
fn what_the_model_lacks_is_named() {
    let without = |key: &str| {
        let mut all = metadata("llama");
        all.retain(|(k, _)| k != key);
        gguf(&all, &tensors("llama", Format::F32))
    };
    let other = |key: &str, value: Put| {
        let mut all = metadata("llama");
        all.retain(|(k, _)| k != key);
        all.push((key.to_string(), value));
        gguf(&all, &tensors("llama", Format::F32))
    };
    refused(
        without("general.architecture"),
        &["`general.architecture` is none"],
    );
    refused(
        other("general.architecture", Put::Text("gemma".to_string())),
        &["`gemma`", "llama or qwen2"],
    );
    refused(without("llama.block_count"), &["`llama.block_count`"]);
    refused(
        without("llama.attention.layer_norm_rms_epsilon"),
        &["rms_epsilon"],
    );
    refused(
        other("llama.attention.head_count", Put::U32(0)),
        &["0 heads"],
    );
    refused(
        other("llama.rope.dimension_count", Put::U32(16)),
        &["16 rotary dimensions"],
    );
    refused(
        other("llama.block_count", Put::Bool(true)),
        &["`llama.block_count` is true"],
    );
    refused(
        other("llama.attention.head_count_kv", Put::I32s(vec![1, 2])),
        &["the same for each layer"],
    );
    refused(gguf(&metadata("llama"), &[]), &["token_embd.weight"]);
    refused(
        other("split.count", Put::U32(2)),
        &["a part of several files", "`split.count`"],
    );
    refused(
        other("llama.expert_count", Put::U32(8)),
        &["mixture of experts"],
    );
    // Rows of q that are no whole heads.
    let mut odd = tensors("llama", Format::F32);
    odd[2] = Entry::new("blk.0.attn_q.weight", &[64, 33], 0, vec![0; 64 * 33 * 4]);
    let file = Gguf::from_bytes("m.gguf", gguf(&metadata("llama"), &odd)).unwrap();
    let message = file
        .values("model.layers.0.self_attn.q_proj.weight")
        .unwrap_err()
        .to_string();
    assert!(message.contains("no whole heads of 32"), "{message}");
    assert!(
        file.values("absent")
            .unwrap_err()
            .to_string()
            .contains("`absent`")
    );
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = sound();
    for cut in (0..bytes.len()).step_by(7) {
        // The last tensor's bytes end the file but for what fills its alignment.
        refused(bytes[..cut].to_vec(), &[]);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    std::fs::write(&path, &bytes).unwrap();
    let file = Gguf::open(&path).unwrap();
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(2000)
        .unwrap();
    let message = file.values("model.norm.weight").unwrap_err().to_string();
    assert!(message.contains("became shorter"), "{message}");
}

#[test]
fn no_mutation_of_a_sound_file_panics() {
    let mut with_tokens = metadata("llama");
    for (key, value) in [
        ("tokenizer.ggml.model", Put::Text("llama".to_string())),
        (
            "tokenizer.ggml.tokens",
            Put::Texts(
                ["<unk>", "<s>", "</s>", "a", "b", "ab"]
                    .map(String::from)
                    .to_vec(),
            ),
        ),
        (
            "tokenizer.ggml.scores",
            Put::F32s(vec![0.0, 0.0, 0.0, -1.0, -2.0, -3.0]),
        ),
        (
            "tokenizer.ggml.token_type",
            Put::I32s(vec![2, 3, 3, 1, 1, 1]),
        ),
    ] {
        with_tokens.push((key.to_string(), value));
    }
    let sound = gguf(&with_tokens, &tensors("llama", Format::Q4_0));
    let mut state = 1u64;
    let mut next = |below: usize| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let (mut read, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut bytes = sound.clone();
        for _ in 0..=next(3) {
            let at = next(1400);
            match next(3) {
                0 => bytes[at] ^= 1 << next(8),
                1 => bytes[at] = next(256) as u8,
                _ => bytes[at] = 255,
            }
        }
        match Gguf::from_bytes("m.gguf", bytes) {
            Ok(file) => {
                read += 1;
                for name in file.names() {
                    let _ = file.values(name);
                }
                let _ = (file.tokenizer(), file.tokenizer_config());
            }
            Err(e) => {
                refused += 1;
                assert!(!e.to_string().contains('\n'), "{e}");
            }
        }
    }
    assert!(
        read > 500 && refused > 500,
        "{read} read, {refused} refused"
    );
}
