//! How the weights of language models lie in memory, for the kernels `matmul/skinny`, `matmul/wide` and
//! `attention/qkv` alike: blocks of 16 output features × 64 of depth, all blocks of 16 features one after the other.
//!
//! | format | bytes a block | in a block |
//! | --- | --- | --- |
//! | f32, f16 | 4096, 2048 | [4 quarters of the depth][16 features][16 of depth] |
//! | q8_0 | 1024 | [2 halves of 16][16 features][2 quantised blocks] bytes q + 128 |
//! | q4_0 | 512 | [16 features][2 quantised blocks] nibbles |
//!
//! A quantised block's scales are in a second array: [16 features][2] f16 for each block of 16 × 64. Within a
//! 32-bit word the elements are ordered so that two neighbours are 16 bits apart, which makes two halves of them
//! with one mask: bytes 0, 2, 1, 3 of q8_0, nibbles 0, 4, 1, 5, 2, 6, 3, 7 of q4_0. What is beyond the weight's
//! shape is zero.

use crate::tensor::quant::{BLOCK, Format, quantize};
use half::f16;
use half::slice::HalfFloatSliceExt;

/// Output features of a block.
pub const WIDE: usize = 16;
/// Depth of a block.
pub const DEEP: usize = 64;

/// Makes the bytes of a binding from the values [N, K] of a weight and its shape.
pub type Pack = fn(&[f32], [usize; 2]) -> Vec<u8>;

/// How a format's bindings are made.
#[derive(Clone, Copy, Debug)]
pub struct Packing {
    /// A name for the layout of `w`, and one for the layout of `scales`.
    pub names: [&'static str; 2],
    pub w: Pack,
    /// For formats with scales.
    pub scales: Option<Pack>,
}

impl Packing {
    pub fn of(format: Format) -> Self {
        let (names, w, scales): (_, Pack, Option<Pack>) = match format {
            Format::F32 => (["linear_f32", ""], f32_blocks, None),
            Format::F16 => (["linear_f16", ""], f16_blocks, None),
            Format::Q8_0 => (
                ["linear_q8_0", "linear_q8_0_scales"],
                q8_0_blocks,
                Some(q8_0_scales),
            ),
            Format::Q4_0 => (
                ["linear_q4_0", "linear_q4_0_scales"],
                q4_0_blocks,
                Some(q4_0_scales),
            ),
        };
        Self { names, w, scales }
    }
}

/// 32-bit words of the `w` binding of a weight [N, K].
pub fn words(format: Format, shape: [usize; 2]) -> usize {
    count(shape) * block_bytes(format) / 4
}

/// 32-bit words of its `scales` binding; 0 for formats without scales.
pub fn scale_words(format: Format, shape: [usize; 2]) -> usize {
    if format.quantised() {
        count(shape) * WIDE
    } else {
        0
    }
}

/// Bytes that a product reads of a weight [N, K].
pub fn bytes(format: Format, shape: [usize; 2]) -> u64 {
    4 * (words(format, shape) + scale_words(format, shape)) as u64
}

fn count([n, k]: [usize; 2]) -> usize {
    n.div_ceil(WIDE) * k.div_ceil(DEEP)
}

const fn block_bytes(format: Format) -> usize {
    match format {
        Format::F32 => WIDE * DEEP * 4,
        Format::F16 => WIDE * DEEP * 2,
        Format::Q8_0 => WIDE * DEEP,
        Format::Q4_0 => WIDE * DEEP / 2,
    }
}

/// `w` of an f32 weight.
pub fn f32_blocks(values: &[f32], shape: [usize; 2]) -> Vec<u8> {
    runs(values, shape, block_bytes(Format::F32), |run, out| {
        out.copy_from_slice(bytemuck::cast_slice(run));
    })
}

/// `w` of an f16 weight.
pub fn f16_blocks(values: &[f32], shape: [usize; 2]) -> Vec<u8> {
    runs(values, shape, block_bytes(Format::F16), |run, out| {
        let mut halves = [f16::ZERO; 16];
        halves.convert_from_f32_slice(run);
        out.copy_from_slice(bytemuck::cast_slice(&halves));
    })
}

/// `w` of a q8_0 weight.
pub fn q8_0_blocks(values: &[f32], shape: [usize; 2]) -> Vec<u8> {
    quantised(
        values,
        shape,
        Format::Q8_0,
        WIDE * DEEP,
        |at, block, out| {
            // Two runs of 16 bytes, one in each half of the block.
            for (half, q) in block[2..].chunks_exact(16).enumerate() {
                let to = &mut out[half * 512 + at * 16..][..16];
                for (to, q) in to.chunks_exact_mut(4).zip(q.chunks_exact(4)) {
                    to.copy_from_slice(&[q[0] ^ 0x80, q[2] ^ 0x80, q[1] ^ 0x80, q[3] ^ 0x80]);
                }
            }
        },
    )
}

/// `w` of a q4_0 weight.
pub fn q4_0_blocks(values: &[f32], shape: [usize; 2]) -> Vec<u8> {
    quantised(
        values,
        shape,
        Format::Q4_0,
        WIDE * DEEP / 2,
        |at, block, out| {
            let q = &block[2..];
            let element = |i: usize| u32::from(q[i % 16] >> (i / 16 * 4) & 15);
            let to = &mut out[at * 16..][..16];
            for (j, to) in to.chunks_exact_mut(4).enumerate() {
                let word = (0..4).fold(0, |word, i| {
                    let low = element(j * 8 + 2 * i);
                    let high = element(j * 8 + 2 * i + 1);
                    word | low << (4 * i) | high << (4 * i + 16)
                });
                to.copy_from_slice(&word.to_le_bytes());
            }
        },
    )
}

/// `scales` of a q8_0 weight.
pub fn q8_0_scales(values: &[f32], shape: [usize; 2]) -> Vec<u8> {
    scales(values, shape, Format::Q8_0)
}

/// `scales` of a q4_0 weight.
pub fn q4_0_scales(values: &[f32], shape: [usize; 2]) -> Vec<u8> {
    scales(values, shape, Format::Q4_0)
}

fn scales(values: &[f32], shape: [usize; 2], format: Format) -> Vec<u8> {
    quantised(values, shape, format, WIDE * 4, |at, block, out| {
        out[at * 2..][..2].copy_from_slice(&block[..2]);
    })
}

/// Runs of 16 of depth, each stored by `store` in a sixty-fourth of a block of `block` bytes.
fn runs(
    values: &[f32],
    [n, k]: [usize; 2],
    block: usize,
    store: impl Fn(&[f32; 16], &mut [u8]) + Sync,
) -> Vec<u8> {
    let run = block / 64;
    features(values, [n, k], block, |rows, out| {
        for (row, values) in rows.chunks_exact(k).enumerate() {
            let (whole, rest) = values.as_chunks::<16>();
            let place = |i: usize| i / 4 * block + (i % 4 * WIDE + row) * run;
            for (i, values) in whole.iter().enumerate() {
                store(values, &mut out[place(i)..][..run]);
            }
            if !rest.is_empty() {
                let mut last = [0.0; 16];
                last[..rest.len()].copy_from_slice(rest);
                store(&last, &mut out[place(whole.len())..][..run]);
            }
        }
    })
}

/// Quantised blocks, each stored by `store(place, its bytes, block of 16 × 64)`.
fn quantised(
    values: &[f32],
    [n, k]: [usize; 2],
    format: Format,
    block: usize,
    store: impl Fn(usize, &[u8], &mut [u8]) + Sync,
) -> Vec<u8> {
    let bytes = format.bytes(BLOCK);
    features(values, [n, k], block, |rows, out| {
        for (row, values) in rows.chunks_exact(k).enumerate() {
            for (i, q) in quantize(format, values).chunks_exact(bytes).enumerate() {
                store(row * 2 + i % 2, q, &mut out[i / 2 * block..][..block]);
            }
        }
    })
}

/// Fills each group of 16 output features from its rows of `values`, on all processors where that pays.
fn features(
    values: &[f32],
    [n, k]: [usize; 2],
    block: usize,
    fill: impl Fn(&[f32], &mut [u8]) + Sync,
) -> Vec<u8> {
    let group = k.div_ceil(DEEP) * block;
    let mut out = vec![0; n.div_ceil(WIDE) * group];
    if n * k == 0 {
        return out;
    }
    let threads = match std::thread::available_parallelism() {
        Ok(threads) if n * k > 1 << 20 => threads.get(),
        _ => 1,
    };
    let share = n.div_ceil(WIDE).div_ceil(threads);
    let some = |values: &[f32], out: &mut [u8]| {
        let groups = values.chunks(WIDE * k).zip(out.chunks_exact_mut(group));
        groups.for_each(|(rows, out)| fill(rows, out));
    };
    let shares = (values[..n * k].chunks(share * WIDE * k)).zip(out.chunks_mut(share * group));
    if threads == 1 {
        shares.for_each(|(values, out)| some(values, out));
    } else {
        std::thread::scope(|scope| {
            for (values, out) in shares {
                scope.spawn(move || some(values, out));
            }
        });
    }
    out
}

/// The value [n, k] of a weight of depth `depth`, from its bindings: for references.
pub fn value(format: Format, w: &[u32], scales: &[u32], depth: usize, [n, k]: [usize; 2]) -> f32 {
    let block = n / WIDE * depth.div_ceil(DEEP) + k / DEEP;
    let (n, k) = (n % WIDE, k % DEEP);
    let run = k / 16 * WIDE * 16 + n * 16 + k % 16;
    let half = |words: &[u32], at: usize| f16::from_bits((words[at / 2] >> (at % 2 * 16)) as u16);
    let scale = || half(&scales[block * WIDE..], n * 2 + k / BLOCK).to_f32();
    let q = k % BLOCK;
    match format {
        Format::F32 => f32::from_bits(w[block * 1024 + run]),
        Format::F16 => half(&w[block * 512..], run).to_f32(),
        Format::Q8_0 => {
            let word = w[block * 256 + q / 16 * 128 + (n * 2 + k / BLOCK) * 4 + q % 16 / 4];
            let byte = [0, 2, 1, 3][q % 4];
            scale() * (f32::from((word >> (8 * byte)) as u8) - 128.0)
        }
        Format::Q4_0 => {
            let word = w[block * 128 + (n * 2 + k / BLOCK) * 4 + q / 8];
            let nibble = q % 8 / 2 + q % 2 * 4;
            scale() * ((word >> (4 * nibble) & 15) as f32 - 8.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::noise;
    use crate::tensor::quant::dequantize;

    fn whole(bytes: &[u8]) -> Vec<u32> {
        bytemuck::pod_collect_to_vec(bytes)
    }

    #[test]
    fn packed_values_are_those_of_their_format() {
        for (n, k) in [(1, 4), (16, 64), (33, 100), (50, 192), (1030, 1028)] {
            let values = noise(1, n * k);
            for format in [Format::F32, Format::F16, Format::Q8_0, Format::Q4_0] {
                let packing = Packing::of(format);
                let w = whole(&(packing.w)(&values, [n, k]));
                let scales = packing.scales.map(|s| whole(&s(&values, [n, k])));
                let scales = scales.unwrap_or_default();
                assert_eq!(w.len(), words(format, [n, k]), "{format}");
                assert_eq!(scales.len(), scale_words(format, [n, k]), "{format}");
                for row in [0, n / 2, n - 1] {
                    let at = &values[row * k..][..k];
                    let want = dequantize(format, &quantize(format, at));
                    for (column, want) in want[..k].iter().enumerate() {
                        let got = value(format, &w, &scales, k, [row, column]);
                        assert_eq!(got, *want, "{format} [{n}, {k}] at {row}, {column}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_beyond_the_shape_is_zero() {
        for format in [Format::F32, Format::F16, Format::Q8_0, Format::Q4_0] {
            let packing = Packing::of(format);
            let w = whole(&(packing.w)(&[1.0; 6], [2, 3]));
            let scales = packing.scales.map(|s| whole(&s(&[1.0; 6], [2, 3])));
            let scales = scales.unwrap_or_default();
            let sum: f32 = (0..WIDE * DEEP)
                .map(|i| value(format, &w, &scales, 3, [i / DEEP, i % DEEP]))
                .sum();
            assert!((sum - 6.0).abs() < 0.01, "{format}: {sum}");
        }
    }
}
