//! The header of a GGUF file: its metadata and where its tensors are, each count checked before it is believed.

use super::super::bytes::Bytes;
use super::super::header::{quote, shape_text};
use crate::error::{Error, Result};
use crate::tensor::elements;
use std::collections::BTreeMap;

/// Bytes that are read at a time.
const PIECE: u64 = 1 << 18;
/// The most values that all arrays of the metadata may have together: many times those of the largest vocabularies.
const MOST_VALUES: u64 = 1 << 23;
const MOST_TENSORS: u64 = 1 << 20;
const MOST_KEYS: u64 = 1 << 16;
const MOST_DIMENSIONS: u32 = 4;

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Meta {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Array(Vec<Meta>),
}

/// How the elements of a tensor are stored in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    F32,
    F16,
    BF16,
    Q8_0,
    Q4_0,
}

impl Stored {
    fn of(code: u32) -> Result<Self, String> {
        const NAMES: [(u32, &str); 27] = [
            (3, "Q4_1"),
            (6, "Q5_0"),
            (7, "Q5_1"),
            (9, "Q8_1"),
            (10, "Q2_K"),
            (11, "Q3_K"),
            (12, "Q4_K"),
            (13, "Q5_K"),
            (14, "Q6_K"),
            (15, "Q8_K"),
            (16, "IQ2_XXS"),
            (17, "IQ2_XS"),
            (18, "IQ3_XXS"),
            (19, "IQ1_S"),
            (20, "IQ4_NL"),
            (21, "IQ3_S"),
            (22, "IQ2_S"),
            (23, "IQ4_XS"),
            (24, "I8"),
            (25, "I16"),
            (26, "I32"),
            (27, "I64"),
            (28, "F64"),
            (29, "IQ1_M"),
            (34, "TQ1_0"),
            (35, "TQ2_0"),
            (39, "MXFP4"),
        ];
        Ok(match code {
            0 => Stored::F32,
            1 => Stored::F16,
            2 => Stored::Q4_0,
            8 => Stored::Q8_0,
            30 => Stored::BF16,
            other => {
                let known = NAMES.iter().find(|(c, _)| *c == other);
                return Err(match known {
                    Some((_, name)) => name.to_string(),
                    None => format!("number {other}"),
                });
            }
        })
    }

    /// Elements and bytes of a block.
    pub const fn block(self) -> (usize, usize) {
        match self {
            Stored::F32 => (1, 4),
            Stored::F16 | Stored::BF16 => (1, 2),
            Stored::Q8_0 => (32, 34),
            Stored::Q4_0 => (32, 18),
        }
    }
}

/// Where a tensor is.
#[derive(Clone, Debug)]
pub struct Info {
    pub stored: Stored,
    /// Row-major: the last dimension is the input's. (The file has the reverse.)
    pub shape: Vec<usize>,
    /// From the beginning of the file, in bytes.
    pub from: u64,
    pub bytes: u64,
}

/// What the header says.
pub struct Header {
    pub metadata: BTreeMap<String, Meta>,
    pub tensors: BTreeMap<String, Info>,
}

/// Reads the header of `file`.
///
/// # Errors
/// [`Error::File`], one line on what is at fault.
pub fn header(file: &Bytes) -> Result<Header> {
    let mut cursor = Cursor {
        file,
        piece: Vec::new(),
        start: 0,
        at: 0,
        values: 0,
    };
    cursor.header()
}

struct Cursor<'a> {
    file: &'a Bytes,
    /// The bytes of the file from `start` on.
    piece: Vec<u8>,
    start: u64,
    at: u64,
    /// Values of arrays so far.
    values: u64,
}

impl Cursor<'_> {
    fn fault<T>(&self, message: impl std::fmt::Display) -> Result<T> {
        Err(Error::file(self.file.path(), message))
    }

    fn left(&self) -> u64 {
        self.file.len().saturating_sub(self.at)
    }

    /// The next `n` bytes.
    fn take(&mut self, n: u64) -> Result<&[u8]> {
        if n > self.left() {
            return self.fault(format_args!(
                "the header goes on for {n} bytes at byte {}, but {} follow: the file is truncated or damaged",
                self.at,
                self.left()
            ));
        }
        if self.at + n > self.start + self.piece.len() as u64 {
            self.piece = self.file.read(self.at, n.max(PIECE).min(self.left()))?;
            self.start = self.at;
        }
        let from = (self.at - self.start) as usize;
        self.at += n;
        Ok(&self.piece[from..from + n as usize])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64)?);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String> {
        let (at, n) = (self.at, self.u64()?);
        let bytes = self.take(n)?.to_vec();
        String::from_utf8(bytes).or_else(|e| {
            self.fault(format_args!(
                "the text at byte {at} is not UTF-8 ({})",
                e.utf8_error()
            ))
        })
    }

    fn value(&mut self, kind: u32, key: &str) -> Result<Meta> {
        Ok(match kind {
            0 => Meta::Unsigned(u64::from(self.array::<1>()?[0])),
            1 => Meta::Signed(i64::from(i8::from_le_bytes(self.array()?))),
            2 => Meta::Unsigned(u64::from(u16::from_le_bytes(self.array()?))),
            3 => Meta::Signed(i64::from(i16::from_le_bytes(self.array()?))),
            4 => Meta::Unsigned(u64::from(self.u32()?)),
            5 => Meta::Signed(i64::from(i32::from_le_bytes(self.array()?))),
            6 => Meta::Float(f64::from(f32::from_le_bytes(self.array()?))),
            7 => Meta::Bool(self.array::<1>()?[0] != 0),
            8 => Meta::Text(self.text()?),
            9 => {
                let (kind, n) = (self.u32()?, self.u64()?);
                let least = match kind {
                    0 | 1 | 7 => 1,
                    2 | 3 => 2,
                    4..=6 => 4,
                    8 | 10..=12 => 8,
                    other => {
                        return self.fault(format_args!(
                            "metadata {}: an array of values of type {other}; expected numbers, text or bools",
                            quote(key)
                        ));
                    }
                };
                self.values = self.values.saturating_add(n);
                if n > self.left() / least || self.values > MOST_VALUES {
                    return self.fault(format_args!(
                        "metadata {}: declares {n} values, but {} bytes follow and {MOST_VALUES} values are the limit",
                        quote(key),
                        self.left()
                    ));
                }
                let mut out = Vec::with_capacity(n as usize);
                for _ in 0..n {
                    out.push(self.value(kind, key)?);
                }
                Meta::Array(out)
            }
            10 => Meta::Unsigned(self.u64()?),
            11 => Meta::Signed(i64::from_le_bytes(self.array()?)),
            12 => Meta::Float(f64::from_le_bytes(self.array()?)),
            other => {
                return self.fault(format_args!(
                    "metadata {}: a value of type {other}; expected 0 to 12",
                    quote(key)
                ));
            }
        })
    }

    fn header(&mut self) -> Result<Header> {
        if self.file.len() < 24 {
            return self.fault(format_args!(
                "the file has {} bytes; a GGUF file has at least 24: it is truncated or not one",
                self.file.len()
            ));
        }
        let magic: [u8; 4] = self.array()?;
        if &magic != b"GGUF" {
            return self.fault("expected a GGUF file, found one that does not begin with GGUF");
        }
        match self.u32()? {
            2 | 3 => {}
            version if (1..=3).contains(&version.swap_bytes()) => {
                return self.fault("this GGUF file is big-endian; expected little-endian");
            }
            version => {
                return self.fault(format_args!("version {version} of GGUF; expected 2 or 3"));
            }
        }
        let (tensors, keys) = (self.u64()?, self.u64()?);
        // A key has at least 13 bytes, a tensor 24.
        if keys > MOST_KEYS.min(self.left() / 13) || tensors > MOST_TENSORS.min(self.left() / 24) {
            return self.fault(format_args!(
                "declares {tensors} tensors and {keys} keys, but {} bytes follow: the file is truncated or damaged",
                self.left()
            ));
        }
        let mut metadata = BTreeMap::new();
        for _ in 0..keys {
            let key = self.text()?;
            let kind = self.u32()?;
            let value = self.value(kind, &key)?;
            if metadata.insert(key.clone(), value).is_some() {
                return self.fault(format_args!("metadata {} stands twice", quote(&key)));
            }
        }
        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(Meta::Unsigned(n)) if n.is_power_of_two() && (8..=1 << 20).contains(n) => *n,
            Some(other) => {
                return self.fault(format_args!(
                    "`general.alignment` is {}; expected a power of two from 8 to 1048576",
                    one(other)
                ));
            }
        };
        let tensors = self.infos(tensors, alignment)?;
        Ok(Header { metadata, tensors })
    }

    fn infos(&mut self, count: u64, alignment: u64) -> Result<BTreeMap<String, Info>> {
        let mut infos = Vec::new();
        for _ in 0..count {
            let name = self.text()?;
            let info = self.info(&name, alignment)?;
            infos.push((name, info));
        }
        let data = self.at.next_multiple_of(alignment);
        infos.sort_by_key(|(_, info)| (info.from, info.bytes));
        let mut end = data;
        let mut tensors: BTreeMap<String, Info> = BTreeMap::new();
        for (name, mut info) in infos {
            let place = info.from.checked_add(data);
            let past = place.and_then(|from| from.checked_add(info.bytes));
            let (Some(from), Some(past)) = (place, past.filter(|p| *p <= self.file.len())) else {
                return self.fault(format_args!(
                    "tensor {}: its {} bytes at offset {} reach beyond the end of the file ({} bytes of data): it is \
                     truncated or damaged",
                    quote(&name),
                    info.bytes,
                    info.from,
                    self.file.len().saturating_sub(data)
                ));
            };
            if from < end {
                return self.fault(format_args!(
                    "tensor {}: its data at offset {} overlaps that before it, which ends at {}",
                    quote(&name),
                    info.from,
                    end - data
                ));
            }
            (info.from, end) = (from, past);
            if tensors.insert(name.clone(), info).is_some() {
                return self.fault(format_args!("tensor {} stands twice", quote(&name)));
            }
        }
        Ok(tensors)
    }

    /// The place of a tensor, `from` still counted from the beginning of the data.
    fn info(&mut self, name: &str, alignment: u64) -> Result<Info> {
        let tensor = quote(name);
        let dimensions = self.u32()?;
        if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
            return self.fault(format_args!(
                "tensor {tensor}: has {dimensions} dimensions; expected 1 to {MOST_DIMENSIONS}"
            ));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(usize::try_from(self.u64()?).unwrap_or(usize::MAX));
        }
        shape.reverse();
        let code = self.u32()?;
        let from = self.u64()?;
        let stored = match Stored::of(code) {
            Ok(stored) => stored,
            Err(name) => {
                return self.fault(format_args!(
                    "tensor {tensor}: is of type {name}; read are F32, F16, BF16, Q8_0 and Q4_0"
                ));
            }
        };
        let (block, block_bytes) = stored.block();
        let row = shape.last().copied().unwrap_or_default();
        let bytes = elements(&shape).and_then(|n| (n / block).checked_mul(block_bytes));
        let Some(bytes) = bytes.filter(|_| row.is_multiple_of(block)) else {
            return self.fault(format_args!(
                "tensor {tensor}: shape {} is no whole number of blocks of {block} that can be",
                shape_text(&shape)
            ));
        };
        if !from.is_multiple_of(alignment) {
            return self.fault(format_args!(
                "tensor {tensor}: its offset {from} is no multiple of the alignment, {alignment}"
            ));
        }
        let bytes = bytes as u64;
        Ok(Info {
            stored,
            shape,
            from,
            bytes,
        })
    }
}

/// A value as a message prints it.
pub(super) fn one(value: &Meta) -> String {
    match value {
        Meta::Unsigned(n) => n.to_string(),
        Meta::Signed(n) => n.to_string(),
        Meta::Float(n) => n.to_string(),
        Meta::Bool(b) => b.to_string(),
        Meta::Text(text) => quote(text),
        Meta::Array(values) => format!("an array of {}", values.len()),
    }
}
