//! Folders of language models.

use cascadia::io::{LanguageFiles, Parts, Shards, Values, save};
use cascadia::tensor::{DType, Tensor};
use std::path::Path;

fn tensor(values: &[f32]) -> Tensor {
    Tensor::from_f32(&[values.len()], values).unwrap()
}

fn write(folder: &Path, file: &str, tensors: &[(&str, &[f32])]) {
    let tensors: Vec<(String, Tensor)> = tensors
        .iter()
        .map(|(n, v)| (n.to_string(), tensor(v)))
        .collect();
    save(&folder.join(file), &tensors, None).unwrap();
}

const INDEX: &str = "model.safetensors.index.json";

/// Two files and their index.
fn sharded(index: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "a-1.safetensors",
        &[("x", &[1.0, 2.0]), ("y", &[3.0])],
    );
    write(folder.path(), "a-2.safetensors", &[("z", &[4.0, 5.0, 6.0])]);
    std::fs::write(folder.path().join(INDEX), index).unwrap();
    folder
}

const SOUND: &str = r#"{"metadata": {"total_size": 24},
    "weight_map": {"x": "a-1.safetensors", "y": "a-1.safetensors", "z": "a-2.safetensors"}}"#;

#[track_caller]
fn refused(result: cascadia::Result<impl std::fmt::Debug>, parts: &[&str]) {
    let message = result.unwrap_err().to_string();
    assert!(!message.contains('\n') && message.len() < 700, "{message}");
    for part in parts {
        assert!(message.contains(part), "no `{part}` in {message}");
    }
}

#[test]
fn several_files_are_one_checkpoint() {
    let folder = sharded(SOUND);
    let shards = Shards::open(folder.path()).unwrap();
    assert_eq!(shards.names().collect::<Vec<_>>(), ["x", "y", "z"]);
    assert_eq!(shards.shape("z"), Some(&[3][..]));
    assert_eq!(shards.tensor("z").unwrap().to_f32(), [4.0, 5.0, 6.0]);
    assert_eq!(shards.tensor("y").unwrap().to_f32(), [3.0]);
    refused(shards.tensor("w"), &["no tensor `w` among its 3"]);
    // Cut short after it was opened.
    let path = folder.path().join("a-2.safetensors");
    let len = std::fs::metadata(&path).unwrap().len();
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(len - 1)
        .unwrap();
    refused(shards.tensor("z"), &["a-2.safetensors", "became shorter"]);
    assert!(shards.tensor("x").is_ok());
    refused(
        Shards::open(folder.path()),
        &["a-2.safetensors", "truncated"],
    );
}

#[test]
fn an_index_that_does_not_fit_is_named() {
    let open = |index: &str| Shards::open(sharded(index).path());
    refused(open("{"), &[INDEX, "expected JSON"]);
    refused(open("[]"), &["`weight_map`"]);
    refused(
        open(r#"{"weight_map": {"x": "../x"}}"#),
        &["tensor `x`", "beside the index"],
    );
    refused(open(r#"{"weight_map": {"x": 3}}"#), &["tensor `x`"]);
    refused(
        open(r#"{"weight_map": {"w": "a-1.safetensors"}}"#),
        &["tensor `w` in `a-1.safetensors`, which lacks it"],
    );
    refused(
        open(
            r#"{"weight_map": {"x": "a-1.safetensors", "z": "a-3.safetensors", "w": "a-4.safetensors"}}"#,
        ),
        &[
            "2 of its 3 files are missing",
            "`a-3.safetensors`, `a-4.safetensors`",
        ],
    );
    let empty = tempfile::tempdir().unwrap();
    refused(
        Shards::open(empty.path()),
        &[
            "model.safetensors or model.safetensors.index.json",
            "neither",
        ],
    );
    std::fs::write(empty.path().join("pytorch_model.bin"), "x").unwrap();
    refused(Shards::open(empty.path()), &["pickles"]);
}

#[test]
fn a_folder_has_a_configuration_and_weights() {
    let folder = sharded(SOUND);
    refused(LanguageFiles::open(folder.path()), &["no config.json"]);
    std::fs::write(
        folder.path().join("config.json"),
        r#"{"model_type": "llama"}"#,
    )
    .unwrap();
    std::fs::write(
        folder.path().join("generation_config.json"),
        r#"{"eos_token_id": [7]}"#,
    )
    .unwrap();
    let files = LanguageFiles::open(folder.path()).unwrap();
    assert_eq!(files.config["model_type"], "llama");
    assert_eq!(files.generation.eos, [7]);
    #[cfg(feature = "text")]
    assert!(files.tokenizer().unwrap().is_none());
    let values = files.weights.values("x").unwrap();
    assert!(matches!(&values, Values::Tensor(t) if t.dtype() == DType::F32));
    let x: (&str, &[usize]) = ("x", &[2]);
    files.weights.fit([x]).unwrap();
    refused(
        files.weights.fit([x, ("y", &[9]), ("w", &[1])]),
        &["missing: `w`", "misshapen: `y` is [1], not [9]"],
    );
    std::fs::write(
        folder.path().join("generation_config.json"),
        r#"{"temperature": -1}"#,
    )
    .unwrap();
    refused(
        LanguageFiles::open(folder.path()),
        &["generation_config.json", "`temperature`"],
    );
    std::fs::write(folder.path().join("config.json"), "nonsense").unwrap();
    refused(
        LanguageFiles::open(folder.path()),
        &["config.json", "expected JSON"],
    );
    refused(
        LanguageFiles::open(&folder.path().join("a-1.safetensors")),
        &["expected the folder"],
    );
    refused(
        LanguageFiles::open(&folder.path().join("absent")),
        &["absent"],
    );
}

#[test]
fn a_program_may_carry_a_model() {
    let folder = sharded(SOUND);
    let weights = std::fs::read(folder.path().join("a-1.safetensors")).unwrap();
    let parts = |weights, config| Parts {
        name: "built in",
        weights,
        config,
        tokenizer: None,
        tokenizer_config: None,
        generation: None,
    };
    let files =
        LanguageFiles::from_parts(parts(weights, Some(r#"{"model_type": "llama"}"#))).unwrap();
    assert_eq!(files.weights.values("x").unwrap().to_f32(), [1.0, 2.0]);
    assert_eq!(files.config["model_type"], "llama");
    refused(
        LanguageFiles::from_parts(parts(vec![0; 9], None)),
        &["built in"],
    );
}

#[cfg(unix)]
#[test]
fn a_file_larger_than_memory_is_read_tensor_by_tensor() {
    use std::io::{Seek, SeekFrom, Write};
    const BIG: u64 = 1 << 40;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let header = format!(
        r#"{{"big":{{"dtype":"F16","shape":[{}],"data_offsets":[0,{BIG}]}},"small":{{"dtype":"F32","shape":[1],"data_offsets":[{BIG},{}]}}}}"#,
        BIG / 2,
        BIG + 4
    );
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    // The large tensor takes no room on the disk.
    let skipped = file.seek(SeekFrom::Current(BIG as i64)).is_ok();
    if !skipped || file.write_all(&7.0f32.to_le_bytes()).is_err() {
        return;
    }
    let shards = Shards::open(folder.path()).unwrap();
    assert_eq!(shards.shape("big"), Some(&[1 << 39][..]));
    assert_eq!(shards.tensor("small").unwrap().to_f32(), [7.0]);
}
