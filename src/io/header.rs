//! The JSON header of a safetensors file, checked so that each fault is named.
//!
//! The format's types and its rules are the `safetensors` crate's; what is added is to say which tensor is at fault
//! and how, to refuse a name that stands twice, and to need only the header, so that a file is judged before it is read.

use crate::tensor::elements;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// Bytes before the header: its length, a little-endian u64.
pub(super) const LENGTH_BYTES: usize = 8;

/// The longest header that the format allows, in bytes.
pub(super) const MAX_HEADER_BYTES: u64 = 100_000_000;

/// What a header says.
#[derive(Debug)]
pub(super) struct Header {
    /// Type, shape and place of every tensor; places count from the end of the header, in bytes.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// Free text by key, `__metadata__` in the file.
    pub metadata: BTreeMap<String, String>,
}

/// The length of the header in bytes, from the first bytes of a file of `file_bytes`.
///
/// # Errors
/// One line on what the file is instead of a safetensors file.
pub(super) fn header_bytes(start: &[u8], file_bytes: u64) -> Result<usize, String> {
    if let Some(other) = other_format(start) {
        return Err(other);
    }
    let Some(length) = start.first_chunk::<LENGTH_BYTES>() else {
        return Err(match file_bytes {
            0 => "the file is empty; expected a safetensors file".to_string(),
            n => format!(
                "the file has {n} bytes; a safetensors file has at least 8: it is truncated or not one"
            ),
        });
    };
    let length = u64::from_le_bytes(*length);
    let rest = file_bytes.saturating_sub(LENGTH_BYTES as u64);
    let fault = if length == 0 {
        "declares a header of 0 bytes".to_string()
    } else if length > MAX_HEADER_BYTES {
        format!("declares a header of {length} bytes, the limit is {MAX_HEADER_BYTES}")
    } else if length > rest {
        format!("declares a header of {length} bytes, but only {rest} follow")
    } else {
        return Ok(length as usize);
    };
    Err(format!(
        "the file {fault}: it is truncated or not a safetensors file"
    ))
}

/// Names the well-known other contents of a weights file.
fn other_format(start: &[u8]) -> Option<String> {
    // A header of 640 bytes begins like a pickle too, but a header's first character is `{`.
    let pickle = start.starts_with(b"PK\x03\x04") || matches!(start, [0x80, 2..=5, ..]);
    if pickle && start.get(LENGTH_BYTES) != Some(&b'{') {
        return Some(
            "this is a PyTorch pickle, which can run code and is not read; convert it in Python: \
             safetensors.torch.save_file(torch.load(PATH, weights_only=True), 'model.safetensors') \
             (where the file nests its state dict, pass that, e.g. ['model'])"
                .to_string(),
        );
    }
    if start.starts_with(b"version https://") {
        return Some(
            "this is a git-lfs pointer, not the weights; fetch them with `git lfs pull`"
                .to_string(),
        );
    }
    start
        .starts_with(b"GGUF")
        .then(|| "this is a GGUF file; expected a safetensors file".to_string())
}

/// Parses a header that `data_bytes` of data follow.
///
/// # Errors
/// One line that names the tensor at fault: not JSON, a name twice, a shape that does not fit its bytes, a place
/// outside the data, an overlap or a hole, or data shorter or longer than the header says.
pub(super) fn parse(header: &[u8], data_bytes: u64) -> Result<Header, String> {
    let text = std::str::from_utf8(header)
        .map_err(|e| format!("the safetensors header is not UTF-8 ({e}); the file is damaged"))?;
    let entries: Entries = serde_json::from_str(text).map_err(|e| {
        let what = if e.is_data() {
            "cannot be read"
        } else {
            "is not JSON"
        };
        let e = one_line(&e.to_string());
        format!("the safetensors header {what}: {e}")
    })?;
    let Entries {
        mut tensors,
        metadata,
    } = entries;
    tensors.sort_by(|(a, x), (b, y)| x.data_offsets.cmp(&y.data_offsets).then(a.cmp(b)));
    let end = check_places(&tensors)?;
    let place = tensors.last().map(|(name, _)| quote(name));
    match data_bytes.cmp(&(end as u64)) {
        std::cmp::Ordering::Equal => {}
        std::cmp::Ordering::Less => {
            return Err(format!(
                "the header places {end} bytes of tensors (the last is {}), but {data_bytes} follow: \
                 the file is truncated",
                place.unwrap_or_default()
            ));
        }
        std::cmp::Ordering::Greater => {
            return Err(format!(
                "{} bytes follow the {end} bytes of tensors that the header places: the file is damaged",
                data_bytes - end as u64
            ));
        }
    }
    // The crate's own judgement is the last word.
    Metadata::new(None, tensors.clone()).map_err(|e| one_line(&e.to_string()))?;
    Ok(Header {
        tensors: tensors.into_iter().collect(),
        metadata,
    })
}

/// Checks `tensors`, sorted by place, and returns the bytes that they fill.
fn check_places(tensors: &[(String, TensorInfo)]) -> Result<usize, String> {
    let (mut end, mut before) = (0, None::<&str>);
    for (name, info) in tensors {
        let tensor = quote(name);
        let (from, to) = info.data_offsets;
        if from > to {
            return Err(format!(
                "tensor {tensor}: its data begins at byte {from}, after its end at {to}"
            ));
        }
        let Some(bits) = elements(&info.shape).and_then(|n| n.checked_mul(info.dtype.bitsize()))
        else {
            return Err(format!(
                "tensor {tensor}: the size of shape {} overflows",
                shape_text(&info.shape)
            ));
        };
        if !bits.is_multiple_of(8) || bits / 8 != to - from {
            return Err(format!(
                "tensor {tensor}: {} of shape {} takes {} bytes, but its place has {}",
                info.dtype,
                shape_text(&info.shape),
                bits.div_ceil(8),
                to - from
            ));
        }
        if from < end {
            return Err(format!(
                "tensor {tensor}: its data at bytes {from}..{to} overlaps that of {}, which ends at {end}",
                quote(before.unwrap_or_default())
            ));
        }
        if from > end {
            return Err(format!(
                "tensor {tensor}: its data begins at byte {from}, but that before it ends at {end}: there is a hole"
            ));
        }
        (end, before) = (to, Some(name.as_str()));
    }
    Ok(end)
}

/// A header as it is written, in its order.
struct Entries {
    tensors: Vec<(String, TensorInfo)>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a tensor's name for each key")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut tensors = BTreeMap::new();
                let mut metadata = None;
                while let Some(name) = map.next_key::<String>()? {
                    let twice = if name == "__metadata__" {
                        let value: Option<BTreeMap<String, String>> = map
                            .next_value()
                            .map_err(|e| A::Error::custom(format!("__metadata__: {e}")))?;
                        metadata.replace(value.unwrap_or_default()).is_some()
                    } else {
                        let info: TensorInfo = map.next_value().map_err(|e| {
                            A::Error::custom(format!("tensor {}: {e}", quote(&name)))
                        })?;
                        tensors.insert(name.clone(), info).is_some()
                    };
                    if twice {
                        return Err(A::Error::custom(format!(
                            "{} stands there twice",
                            quote(&name)
                        )));
                    }
                }
                Ok(Entries {
                    tensors: tensors.into_iter().collect(),
                    metadata: metadata.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_map(Map)
    }
}

/// A shape as a message prints it, of a bounded length.
pub(super) fn shape_text(shape: &[usize]) -> String {
    const SHOWN: usize = 8;
    match shape.get(..SHOWN) {
        Some(first) if shape.len() > SHOWN => {
            format!("{first:?} and {} more dimensions", shape.len() - SHOWN)
        }
        _ => format!("{shape:?}"),
    }
}

/// A name from a file as a message prints it: escaped, in backquotes, of a bounded length.
pub(super) fn quote(name: &str) -> String {
    const SHOWN: usize = 96;
    let shown: String = name.chars().take(SHOWN).collect();
    let more = if shown.len() < name.len() { "…" } else { "" };
    format!("`{}{more}`", shown.escape_debug())
}

/// A message on one line, of a bounded length.
pub(super) fn one_line(message: &str) -> String {
    const SHOWN: usize = 400;
    let shown: String = (message.chars().take(SHOWN))
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let more = if message.chars().nth(SHOWN).is_some() {
        "…"
    } else {
        ""
    };
    shown + more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_about_hostile_text_is_short_and_on_one_line() {
        assert_eq!(quote("a\nb`\u{1b}"), "`a\\nb`\\u{1b}`");
        assert!(quote(&"x".repeat(5000)).len() < 120);
        assert!(shape_text(&[7; 5000]).len() < 120);
        let dtype = format!("{{\"x\":{{\"dtype\":\"{}\"}}}}", "\\n".repeat(5000));
        let message = parse(dtype.as_bytes(), 0).unwrap_err();
        assert!(message.len() < 700 && !message.contains('\n'), "{message}");
    }

    #[test]
    fn a_header_that_begins_like_a_pickle_is_still_a_header() {
        let mut start = 640u64.to_le_bytes().to_vec();
        start.extend(b"{\"x\"");
        assert_eq!(start[..2], [0x80, 2]);
        assert_eq!(header_bytes(&start, 10_000), Ok(640));
    }
}
