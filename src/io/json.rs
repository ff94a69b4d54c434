//! JSON files of a bounded size, and text.

use super::bytes::Bytes;
use super::header::{one_line, quote};
use crate::error::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// The largest file of JSON or text that is read, in bytes; the largest tokenizers published have some 40 MB.
const MOST: u64 = 1 << 28;

/// Reads the JSON file at `path`.
///
/// # Errors
/// [`Error::Io`] where it cannot be read; [`Error::File`], one line, where it is not JSON.
pub(super) fn read(path: &Path) -> Result<Value> {
    parse(path, &bytes(path)?)
}

/// Reads the JSON file at `path`, `None` where there is none.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Value>> {
    path.exists().then(|| read(path)).transpose()
}

/// Parses `bytes`, which are from `path`.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Value> {
    if bytes.starts_with(b"version https://") {
        let message = "this is a git-lfs pointer, not the file; fetch it with `git lfs pull`";
        return Err(Error::file(path, message));
    }
    serde_json::from_slice(bytes).map_err(|e| {
        let e = one_line(&e.to_string());
        Error::file(path, format!("expected JSON, found: {e}"))
    })
}

/// The bytes of a file of JSON or text.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>> {
    let file = Bytes::open(path, "a file of text", "text")?;
    if file.len() > MOST {
        let message = format!(
            "has {} bytes, {MOST} are the limit of such a file",
            file.len()
        );
        return Err(Error::file(path, message));
    }
    file.read(0, file.len())
}

/// A value as a message prints it, of a bounded length.
pub(super) fn quote_value(value: &Value) -> String {
    quote(&value.to_string())
}

/// The text of bytes that `what`, such as `the prompt`, consists of.
///
/// # Errors
/// [`Error::Usage`] with the place of the first byte that is not UTF-8.
pub fn utf8(what: &str, bytes: Vec<u8>) -> Result<String> {
    text(bytes).map_err(|fault| Error::Usage(format!("{what} {fault}")))
}

/// The text in the file at `path`, without the mark of byte order that some editors begin files with.
///
/// # Errors
/// [`Error::Io`] where it cannot be read; [`Error::File`] where it is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let text = text(bytes).map_err(|fault| Error::file(path, fault))?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_string(),
        None => text,
    })
}

fn text(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let byte = e.as_bytes().get(at).copied().unwrap_or_default();
        format!("is not UTF-8: byte {byte:#04x} at offset {at}; convert it to UTF-8")
    })
}
