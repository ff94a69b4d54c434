//! How weights are stored on a device: as floats, or quantised in blocks of 32 as GGUF has them.

use super::encode_f16;
use half::f16;

/// Elements of a quantised block, along a weight's last dimension.
pub const BLOCK: usize = 32;

/// How the elements of a weight are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    F32,
    F16,
    /// Blocks of 32: an f16 scale d, then 32 × i8 q; a value is d · q.
    Q8_0,
    /// Blocks of 32: an f16 scale d, then 16 bytes; the low halves are elements 0 to 15, the high halves 16 to
    /// 31; a value is d · (q - 8).
    Q4_0,
}

impl Format {
    /// The name that commands take and plans print, which is also GGUF's.
    pub const fn name(self) -> &'static str {
        match self {
            Format::F32 => "f32",
            Format::F16 => "f16",
            Format::Q8_0 => "q8_0",
            Format::Q4_0 => "q4_0",
        }
    }

    /// Whether it stores blocks.
    pub const fn quantised(self) -> bool {
        matches!(self, Format::Q8_0 | Format::Q4_0)
    }

    /// Bytes of `len` elements in whole blocks.
    pub const fn bytes(self, len: usize) -> usize {
        match self {
            Format::F32 => 4 * len,
            Format::F16 => 2 * len,
            Format::Q8_0 => len.div_ceil(BLOCK) * 34,
            Format::Q4_0 => len.div_ceil(BLOCK) * 18,
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// `values` stored as `format`, as a GGUF file has them. A last block that is not whole is filled with zeros.
pub fn quantize(format: Format, values: &[f32]) -> Vec<u8> {
    match format {
        Format::F32 => bytemuck::cast_slice(values).to_vec(),
        Format::F16 => encode_f16(values),
        Format::Q8_0 | Format::Q4_0 => {
            let mut out = Vec::with_capacity(format.bytes(values.len()));
            for chunk in values.chunks(BLOCK) {
                let mut block = [0.0; BLOCK];
                block[..chunk.len()].copy_from_slice(chunk);
                if format == Format::Q8_0 {
                    q8_0(&block, &mut out);
                } else {
                    q4_0(&block, &mut out);
                }
            }
            out
        }
    }
}

/// The values of `bytes`, stored as `format`; bytes beyond the last whole element or block are left out.
pub fn dequantize(format: Format, bytes: &[u8]) -> Vec<f32> {
    let scale = |b: &[u8]| f16::from_le_bytes([b[0], b[1]]).to_f32();
    match format {
        Format::F32 => (bytes.as_chunks::<4>().0.iter())
            .map(|&b| f32::from_le_bytes(b))
            .collect(),
        Format::F16 => (bytes.as_chunks::<2>().0.iter())
            .map(|&b| f16::from_le_bytes(b).to_f32())
            .collect(),
        Format::Q8_0 => (bytes.as_chunks::<34>().0.iter())
            .flat_map(|b| {
                let d = scale(b);
                b[2..].iter().map(move |&q| d * f32::from(q as i8))
            })
            .collect(),
        Format::Q4_0 => (bytes.as_chunks::<18>().0.iter())
            .flat_map(|b| {
                let d = scale(b);
                let value = move |q: u8| d * (f32::from(q) - 8.0);
                (b[2..].iter().map(move |&q| value(q & 15)))
                    .chain(b[2..].iter().map(move |&q| value(q >> 4)))
            })
            .collect(),
    }
}

fn q8_0(block: &[f32; BLOCK], out: &mut Vec<u8>) {
    let most = block.iter().fold(0.0f32, |a, v| a.max(v.abs()));
    let d = most / 127.0;
    let inverse = if d > 0.0 { 1.0 / d } else { 0.0 };
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend((block.iter()).map(|v| (v * inverse).round() as i8 as u8));
}

fn q4_0(block: &[f32; BLOCK], out: &mut Vec<u8>) {
    // The value of the largest magnitude, with its sign, becomes -8.
    let most = (block.iter()).fold(0.0f32, |a, &v| if v.abs() > a.abs() { v } else { a });
    let d = most / -8.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let q = |v: f32| (v * inverse + 8.5).clamp(0.0, 15.0) as u8;
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend((0..BLOCK / 2).map(|i| q(block[i]) | q(block[i + BLOCK / 2]) << 4));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Vec<f32> {
        (0..96)
            .map(|i| ((i * 37 % 61) as f32 - 30.0) * 0.11)
            .collect()
    }

    #[test]
    fn blocks_have_the_sizes_of_gguf() {
        assert_eq!(quantize(Format::Q8_0, &values()).len(), 3 * 34);
        assert_eq!(quantize(Format::Q4_0, &values()).len(), 3 * 18);
        assert_eq!(quantize(Format::Q4_0, &values()[..33]).len(), 2 * 18);
    }

    #[test]
    fn values_come_back_within_half_a_step() {
        for (format, steps) in [(Format::Q8_0, 127.0), (Format::Q4_0, 8.0)] {
            let back = dequantize(format, &quantize(format, &values()));
            for (block, read) in values().chunks(BLOCK).zip(back.chunks(BLOCK)) {
                let most = block.iter().fold(0.0f32, |a, v| a.max(v.abs()));
                // 4 bits reach from -8 to 7: the far end on the other side is a whole step off.
                let step = most / steps * if format == Format::Q4_0 { 1.0 } else { 0.5 };
                for (v, r) in block.iter().zip(read) {
                    assert!((v - r).abs() <= step * 1.01, "{format}: {v} became {r}");
                }
            }
        }
    }

    #[test]
    fn what_was_quantised_is_quantised_to_the_same_bytes() {
        for format in [Format::F32, Format::F16, Format::Q8_0, Format::Q4_0] {
            let once = quantize(format, &values());
            assert_eq!(
                quantize(format, &dequantize(format, &once)),
                once,
                "{format}"
            );
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        for format in [Format::Q8_0, Format::Q4_0] {
            assert_eq!(
                dequantize(format, &quantize(format, &[0.0; 40]))[..40],
                [0.0; 40]
            );
        }
    }
}
