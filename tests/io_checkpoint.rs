//! Checkpoints: what is read, and one line for each file that is not sound.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

use cascadia::error::Error;
use cascadia::io::{Checkpoint, FileDType};
use cascadia::tensor::DType;
use std::path::Path;

/// A safetensors file with this header and these bytes after it.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn entry(name: &str, dtype: &str, shape: &str, from: usize, to: usize) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
}

/// The message about `bytes`, the same whether they come from memory or from a file.
fn message(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let from_file = Checkpoint::open(&path).unwrap_err().to_string();
    let memory = Checkpoint::from_bytes(&path, bytes.to_vec()).unwrap_err();
    assert!(matches!(memory, Error::File { .. }));
    assert_eq!(from_file, memory.to_string());
    let message = from_file
        .strip_prefix(&format!("{}: ", path.display()))
        .unwrap_or_else(|| panic!("no path in {from_file}"))
        .to_string();
    assert!(!message.contains('\n') && message.len() < 800, "{message}");
    message
}

#[track_caller]
fn refused(bytes: &[u8], parts: &[&str]) {
    let message = message(bytes);
    for part in parts {
        assert!(message.contains(part), "no `{part}` in: {message}");
    }
}

#[test]
fn every_type_is_read_and_converted() {
    let mut data = Vec::new();
    let mut entries = Vec::new();
    let mut add = |name: &str, dtype: &str, bytes: &[u8]| {
        entries.push(entry(
            name,
            dtype,
            "[2]",
            data.len(),
            data.len() + bytes.len(),
        ));
        data.extend(bytes);
    };
    let pair = |a: &[u8], b: &[u8]| [a, b].concat();
    add(
        "f32",
        "F32",
        &pair(&1.5f32.to_le_bytes(), &(-2f32).to_le_bytes()),
    );
    add(
        "f16",
        "F16",
        &pair(&0x3e00u16.to_le_bytes(), &0xc000u16.to_le_bytes()),
    );
    add(
        "bf16",
        "BF16",
        &pair(&0x3fc0u16.to_le_bytes(), &0xc000u16.to_le_bytes()),
    );
    add(
        "f64",
        "F64",
        &pair(&1.5f64.to_le_bytes(), &(-2f64).to_le_bytes()),
    );
    add(
        "i64",
        "I64",
        &pair(&7i64.to_le_bytes(), &(-9i64).to_le_bytes()),
    );
    add(
        "i32",
        "I32",
        &pair(&7i32.to_le_bytes(), &(-9i32).to_le_bytes()),
    );
    add(
        "u32",
        "U32",
        &pair(&7u32.to_le_bytes(), &9u32.to_le_bytes()),
    );
    let header = format!(
        r#"{{"__metadata__":{{"format":"pt"}},{}}}"#,
        entries.join(",")
    );
    // As written, then with spaces before the data, so that each type is also read where it is not aligned.
    for spaces in 0..8 {
        let bytes = file(&format!("{header}{}", " ".repeat(spaces)), &data);
        let c = Checkpoint::from_bytes("embedded", bytes).unwrap();
        assert_eq!(c.path(), Path::new("embedded"));
        assert_eq!(c.metadata()["format"], "pt");
        assert_eq!(
            c.names().collect::<Vec<_>>(),
            ["bf16", "f16", "f32", "f64", "i32", "i64", "u32"]
        );
        for (name, dtype, values) in [
            ("f32", DType::F32, [1.5, -2.0]),
            ("f16", DType::F16, [1.5, -2.0]),
            ("bf16", DType::BF16, [1.5, -2.0]),
            ("f64", DType::F32, [1.5, -2.0]),
            ("i64", DType::I64, [7.0, -9.0]),
            ("i32", DType::I64, [7.0, -9.0]),
            ("u32", DType::U32, [7.0, 9.0]),
        ] {
            let tensor = c.tensor(name).unwrap();
            assert_eq!(
                (tensor.dtype(), tensor.shape()),
                (dtype, &[2][..]),
                "{name}"
            );
            assert_eq!(tensor.to_f32(), values, "{name}, {spaces} spaces");
        }
        assert_eq!(c.dtype("f64"), Some(FileDType::F64));
        assert_eq!(c.shape("f64"), Some(&[2][..]));
        assert!(c.contains("i32") && !c.contains("x") && c.shape("x").is_none());
        let missing = c.tensor("x").unwrap_err().to_string();
        assert_eq!(missing, "embedded: has no tensor `x` among its 7");
    }
}

#[test]
fn scalars_empty_tensors_and_empty_files_of_tensors_are_sound() {
    let header = format!(
        "{{{},{},{}}}",
        entry("none", "F32", "[3,0]", 0, 0),
        entry("scalar", "F32", "[]", 0, 4),
        entry("tail", "F16", "[0]", 4, 4)
    );
    let c = Checkpoint::from_bytes("x", file(&header, &2f32.to_le_bytes())).unwrap();
    assert_eq!(c.tensor("scalar").unwrap().to_f32(), [2.0]);
    assert_eq!(c.tensor("none").unwrap().shape(), [3, 0]);
    assert!(c.tensor("tail").unwrap().is_empty());
    assert_eq!(
        Checkpoint::from_bytes("x", file("{}", &[]))
            .unwrap()
            .names()
            .len(),
        0
    );
}

#[test]
fn an_unsupported_type_is_named_when_it_is_asked_for() {
    for dtype in ["F8_E4M3", "U8", "BOOL", "I8"] {
        let bytes = file(&format!("{{{}}}", entry("w", dtype, "[2]", 0, 2)), &[0; 2]);
        let c = Checkpoint::from_bytes("x", bytes).unwrap();
        assert_eq!(
            c.tensor("w").unwrap_err().to_string(),
            format!(
                "x: tensor `w` is of type {dtype}; supported are F32, F16, BF16, F64, I64, I32 and U32"
            )
        );
    }
}

#[test]
fn what_is_not_safetensors_is_called_what_it_is() {
    refused(b"", &["empty"]);
    refused(b"abc", &["3 bytes", "at least 8"]);
    refused(&[0; 8], &["header of 0 bytes"]);
    refused(
        &file("{}", &[])[..9],
        &["header of 2 bytes", "only 1 follow"],
    );
    refused(
        &u64::MAX.to_le_bytes(),
        &["18446744073709551615", "limit is 100000000"],
    );
    refused(&100_000_001u64.to_le_bytes(), &["100000001", "limit"]);
    refused(
        b"PK\x03\x04\x00\x00\x08\x08\x00\x00archive/data.pkl",
        &["pickle", "save_file"],
    );
    refused(b"PK\x03\x04", &["pickle"]);
    refused(
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
        &["pickle", "save_file"],
    );
    refused(
        b"version https://git-lfs.github.com/spec/v1\n",
        &["git lfs pull"],
    );
    refused(b"GGUF\x03\x00\x00\x00", &["GGUF"]);
    refused(b"<!doctype html><html></html>", &["not a safetensors file"]);
    refused(&file("\u{1}", &[]), &["not JSON"]);
    refused(&file("[]", &[]), &["expected an object"]);
    refused(&file("{\"x\":", &[]), &["cannot be read", "`x`", "EOF"]);
    refused(&file("{\"x", &[]), &["not JSON"]);
    refused(&file(&"[".repeat(4000), &[]), &["safetensors header"]);
    refused(
        &file(&format!("{{\"x\":{}", "{\"a\":[".repeat(4000)), &[]),
        &["safetensors header"],
    );
    let mut bytes = file("{\"ab\":1}", &[]);
    bytes[10] = 0xff;
    refused(&bytes, &["not UTF-8"]);
}

#[test]
fn a_header_that_does_not_fit_names_the_tensor() {
    let of = |entries: &[String]| file(&format!("{{{}}}", entries.join(",")), &[0; 16]);
    let a = entry("a", "F32", "[2]", 0, 8);
    let b = entry("b", "F32", "[2]", 8, 16);
    assert!(Checkpoint::from_bytes("x", of(&[b.clone(), a.clone()])).is_ok());

    refused(
        &of(&[a.clone(), entry("b", "F32", "[3]", 4, 16)]),
        &["`b`", "4..16", "overlaps", "`a`"],
    );
    refused(
        &of(&[entry("b", "F32", "[1]", 12, 16), a.clone()]),
        &["`b`", "hole"],
    );
    refused(&of(&[entry("b", "F32", "[2]", 8, 16)]), &["`b`", "hole"]);
    refused(
        &of(&[a.clone(), entry("b", "F32", "[2]", 16, 8)]),
        &["`b`", "after its end"],
    );
    refused(
        &of(&[a.clone(), entry("b", "F64", "[2]", 8, 16)]),
        &["`b`", "F64", "[2]", "16 bytes", "has 8"],
    );
    refused(
        &of(&[a.clone(), entry("b", "F4", "[3]", 8, 10)]),
        &["`b`", "F4"],
    );
    refused(&of(&[a.clone(), a.clone()]), &["`a` stands there twice"]);
    refused(
        &of(&[a.clone(), entry("\\u0061", "F32", "[2]", 8, 16)]),
        &["`a` stands there twice"],
    );
    refused(
        &of(&[a.clone(), entry("b", "F99", "[2]", 8, 16)]),
        &["`b`", "unknown variant `F99`"],
    );
    refused(
        &of(&[a.clone(), entry("b", "F32", "[-2]", 8, 16)]),
        &["`b`", "-2"],
    );
    refused(
        &of(&[a.clone(), r#""b":{"dtype":"F32"}"#.into()]),
        &["`b`", "missing field"],
    );
    refused(
        &of(&[a.clone(), r#""__metadata__":{"k":1}"#.into()]),
        &["__metadata__", "expected a string"],
    );
    let huge = "[4294967296,4294967296,4294967296]";
    refused(
        &of(&[a.clone(), entry("b", "F32", huge, 8, 16)]),
        &["`b`", "overflows"],
    );
    refused(
        &of(&[entry("a", "F32", "[4611686018427387904]", 0, 8)]),
        &["`a`", "overflows"],
    );
    refused(
        &of(&[entry("a\\n\\u001b[2J", "F32", "[3]", 0, 8)]),
        &["`a\\n\\u{1b}[2J`"],
    );

    let whole = of(&[a, b]);
    refused(
        &whole[..whole.len() - 1],
        &["16 bytes", "`b`", "15 follow", "truncated"],
    );
    refused(
        &[&whole[..], &[0]].concat(),
        &["1 bytes follow the 16 bytes"],
    );
}

#[test]
fn what_is_no_file_is_refused_before_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("found a folder"), "{error}");
    let error = Checkpoint::open(&folder.path().join("absent")).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    #[cfg(unix)]
    {
        let error = Checkpoint::open(Path::new("/dev/zero")).unwrap_err();
        assert!(
            error.to_string().contains("neither a file nor a folder"),
            "{error}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_vast_file_is_judged_by_its_header() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vast");
    let file = std::fs::File::create(&path).unwrap();
    // Takes no room on the disk. Were it read first, this would be killed or take minutes.
    if file.set_len(1 << 40).is_err() {
        return;
    }
    let error = Checkpoint::open(&path).unwrap_err();
    assert!(error.to_string().contains("header of 0 bytes"), "{error}");
}

#[test]
fn no_mutation_of_a_sound_file_panics() {
    let header = format!(
        r#"{{"__metadata__":{{"k":"v"}},{},{},{}}}"#,
        entry("a", "F32", "[2,2]", 0, 16),
        entry("b", "F16", "[4]", 16, 24),
        entry("c", "I64", "[1,1]", 24, 32)
    );
    let sound = file(&header, &[7; 32]);
    assert!(Checkpoint::from_bytes("x", sound.clone()).is_ok());
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
            let at = next(bytes.len());
            match next(6) {
                0 => bytes[at] ^= 1 << next(8),
                1 => bytes[at] = next(256) as u8,
                2 => bytes[at] = b"0123456789,:[]{}\"-"[next(18)],
                3 => bytes.truncate(at.max(1)),
                4 => bytes.insert(at, b"09]}\",\0\xff"[next(8)]),
                _ => {
                    let other = next(bytes.len());
                    bytes.swap(at, other);
                }
            }
        }
        match Checkpoint::from_bytes("x", bytes) {
            Ok(c) => {
                read += 1;
                let names: Vec<_> = c.names().map(str::to_string).collect();
                for name in names {
                    let _ = c.tensor(&name);
                }
            }
            Err(e) => {
                refused += 1;
                assert!(!e.to_string().contains('\n'), "{e}");
            }
        }
    }
    assert!(
        read > 100 && refused > 10_000,
        "{read} read, {refused} refused"
    );
}
