//! Writers of files for these tests.

use cascadia::tensor::{Format, quant::quantize};

/// A value of a GGUF file's metadata.
#[derive(Clone)]
pub enum Put {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    F32s(Vec<f32>),
    I32s(Vec<i32>),
}

/// A tensor: its name, its dimensions as the file has them (the input's first), its type and its bytes.
#[derive(Clone)]
pub struct Entry {
    pub name: String,
    pub dimensions: Vec<u64>,
    pub kind: u32,
    pub bytes: Vec<u8>,
    /// Instead of the offset where its bytes are.
    pub offset: Option<u64>,
}

impl Entry {
    pub fn new(name: &str, dimensions: &[u64], kind: u32, bytes: Vec<u8>) -> Self {
        Self {
            name: name.to_string(),
            dimensions: dimensions.to_vec(),
            kind,
            bytes,
            offset: None,
        }
    }

    /// Values in row-major order of `shape`, stored as `format`.
    pub fn stored(name: &str, shape: &[usize], format: Format, values: &[f32]) -> Self {
        let kind = match format {
            Format::F32 => 0,
            Format::F16 => 1,
            Format::Q4_0 => 2,
            Format::Q8_0 => 8,
        };
        let dimensions: Vec<u64> = shape.iter().rev().map(|&d| d as u64).collect();
        Self::new(name, &dimensions, kind, quantize(format, values))
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn array(out: &mut Vec<u8>, kind: u32, len: usize) {
    out.extend(9u32.to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend((len as u64).to_le_bytes());
}

/// A GGUF file of version 3.
pub fn gguf(metadata: &[(String, Put)], tensors: &[Entry]) -> Vec<u8> {
    const ALIGNMENT: usize = 32;
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut out, key);
        match value {
            Put::U32(n) => {
                out.extend(4u32.to_le_bytes());
                out.extend(n.to_le_bytes());
            }
            Put::F32(n) => {
                out.extend(6u32.to_le_bytes());
                out.extend(n.to_le_bytes());
            }
            Put::Bool(b) => {
                out.extend(7u32.to_le_bytes());
                out.push(u8::from(*b));
            }
            Put::Text(t) => {
                out.extend(8u32.to_le_bytes());
                text(&mut out, t);
            }
            Put::Texts(all) => {
                array(&mut out, 8, all.len());
                all.iter().for_each(|t| text(&mut out, t));
            }
            Put::F32s(all) => {
                array(&mut out, 6, all.len());
                all.iter().for_each(|n| out.extend(n.to_le_bytes()));
            }
            Put::I32s(all) => {
                array(&mut out, 5, all.len());
                all.iter().for_each(|n| out.extend(n.to_le_bytes()));
            }
        }
    }
    let (mut data, mut places) = (Vec::new(), Vec::new());
    for tensor in tensors {
        places.push(tensor.offset.unwrap_or(data.len() as u64));
        data.extend(&tensor.bytes);
        data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
    }
    for (tensor, place) in tensors.iter().zip(places) {
        text(&mut out, &tensor.name);
        out.extend((tensor.dimensions.len() as u32).to_le_bytes());
        tensor
            .dimensions
            .iter()
            .for_each(|d| out.extend(d.to_le_bytes()));
        out.extend(tensor.kind.to_le_bytes());
        out.extend(place.to_le_bytes());
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    out.extend(data);
    out
}

/// The metadata of a small Llama (or Qwen2): 2 heads of 32, 1 of keys, 1 layer.
pub fn metadata(architecture: &str) -> Vec<(String, Put)> {
    let mut out = vec![(
        "general.architecture".to_string(),
        Put::Text(architecture.to_string()),
    )];
    for (key, n) in [
        ("block_count", 1),
        ("context_length", 256),
        ("embedding_length", 64),
        ("feed_forward_length", 96),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
        ("rope.dimension_count", 32),
    ] {
        out.push((format!("{architecture}.{key}"), Put::U32(n)));
    }
    out.push((
        format!("{architecture}.attention.layer_norm_rms_epsilon"),
        Put::F32(1e-5),
    ));
    out.push((format!("{architecture}.rope.freq_base"), Put::F32(500000.0)));
    out.push(("tokenizer.ggml.eos_token_id".to_string(), Put::U32(2)));
    out.push(("tokenizer.ggml.bos_token_id".to_string(), Put::U32(1)));
    out
}

/// Values that differ.
pub fn values(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 37 % 251) as f32 - 125.0) * 0.01)
        .collect()
}

/// Tensors of the model of [`metadata`], q and k as the converter orders their rows where it does.
pub fn tensors(architecture: &str, format: Format) -> Vec<Entry> {
    let order = |rows: usize, row: usize| {
        let published = values(rows * row);
        if architecture != "llama" {
            return published;
        }
        let mut out = Vec::new();
        for head in 0..rows / 32 {
            for pair in 0..16 {
                for side in 0..2 {
                    let at = (head * 32 + side * 16 + pair) * row;
                    out.extend(&published[at..at + row]);
                }
            }
        }
        out
    };
    let matrix = |name: &str, n: usize, k: usize| {
        Entry::stored(
            &format!("blk.0.{name}.weight"),
            &[n, k],
            format,
            &values(n * k),
        )
    };
    vec![
        Entry::stored("token_embd.weight", &[10, 64], format, &values(640)),
        Entry::stored("blk.0.attn_norm.weight", &[64], Format::F32, &values(64)),
        Entry::stored("blk.0.attn_q.weight", &[64, 64], format, &order(64, 64)),
        Entry::stored("blk.0.attn_k.weight", &[32, 64], format, &order(32, 64)),
        matrix("attn_v", 32, 64),
        matrix("attn_output", 64, 64),
        Entry::stored("blk.0.ffn_norm.weight", &[64], Format::F32, &values(64)),
        matrix("ffn_gate", 96, 64),
        matrix("ffn_up", 96, 64),
        matrix("ffn_down", 64, 96),
        Entry::stored("output_norm.weight", &[64], Format::F32, &values(64)),
    ]
}
