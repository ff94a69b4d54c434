//! Attention of whole sequences, for training: sizes that its kernels share, and what their references compute. Causal,
//! or of all keys, those of another sequence too.
//!
//! Forward keeps o and lse; backward is `causal_stats`, then `causal_bwd_dq`, `causal_bwd_dkv` and, where scores have a
//! bias, `causal_bwd_bias`, which compute the scores again tile by tile: no matrix of scores is in memory.

mod reference;

pub(super) use reference::{
    Seen, attend, backward_inputs, coop_shape, gradients, gradients_of, plain, shape_of, stats,
};

use crate::shader::{Array, Caps, Category, Cost, Variant, noise};
use crate::tensor::DType;

/// The lse of a query that sees nothing.
pub const NOTHING: f64 = 1e30;

/// Rows that kernels on matrix units take at a time.
const BK: usize = 32;

/// How a kernel runs on matrix units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coop {
    /// Invocations of a workgroup, which owns half as many rows.
    wg: usize,
}

/// What a kernel on matrix units keeps in workgroup memory.
#[derive(Clone, Copy)]
pub(super) struct Kept {
    /// Arrays of a workgroup's own rows, and of those taken at a time.
    pub rows: usize,
    pub tiles: usize,
    /// Arrays of weights of pairs of rows.
    pub weights: usize,
    /// Of each subgroup, 16 × 16 f32.
    pub blocks: usize,
}

/// What the shaders but `causal_stats` take, each in its own `Params`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Params {
    pub batch: u32,
    pub len: u32,
    pub keys: u32,
    pub scale: f32,
}

/// The sizes of attention over q `[batch · len, heads · head_dim]` and k, v `[batch · keys, kv_heads · head_dim]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    pub batch: usize,
    /// Queries of each sequence, padding included.
    pub len: usize,
    /// Keys of each sequence, padding included.
    pub keys: usize,
    /// A multiple of `kv_heads`.
    pub heads: usize,
    pub kv_heads: usize,
    /// A multiple of 4, at most 128.
    pub head_dim: usize,
    pub scale: f32,
    /// Query i sees keys 0 to i alone; there are as many keys as queries.
    pub causal: bool,
    /// bias f32 `[heads, len + keys - 1]` is added to scores: that of key j and query i at j - i + len - 1.
    pub bias: bool,
    /// lengths u32 `[batch]` says how many keys of each sequence there are; the others are not seen.
    pub padded: bool,
}

impl Shape {
    /// Elements of q, o and their gradients.
    pub fn q_len(&self) -> usize {
        self.batch * self.len * self.heads * self.head_dim
    }

    /// Elements of k or v.
    pub fn kv_len(&self) -> usize {
        self.batch * self.keys * self.kv_heads * self.head_dim
    }

    /// Elements of lse `[batch, heads, len]`.
    pub fn lse_len(&self) -> usize {
        self.batch * self.heads * self.len
    }

    /// Distances between a query and a key.
    pub fn span(&self) -> usize {
        self.len + self.keys - 1
    }

    /// Rows of a workgroup: as many as leave each an invocation for every four columns.
    pub(super) fn rows(&self) -> usize {
        match self.head_dim {
            ..=32 => 32,
            33..=64 => 16,
            _ => 8,
        }
    }

    /// How a kernel runs on matrix units whose workgroups of `wg` invocations keep so many rows of f16 and f32 blocks of
    /// 16 × 16 for each subgroup; `None` where it does not.
    pub(super) fn coop(&self, kept: Kept, caps: &Caps) -> Option<Coop> {
        let row = 2 * (self.head_dim + 8);
        let bytes = |wg: usize| {
            let (own, pairs) = (wg / 2, 2 * (BK + 8));
            own * (kept.rows * row + kept.weights * pairs)
                + kept.tiles * BK * row
                + kept.blocks * wg * 32
                + 1024
        };
        let plain = self.causal && !self.bias && !self.padded;
        if !plain
            || !caps.matrix_units(DType::F16)
            || !self.head_dim.is_multiple_of(16)
            || self.head_dim > 128
        {
            return None;
        }
        let fits = |wg: &usize| bytes(*wg) <= caps.max_workgroup_bytes as usize;
        [128, 64, 32].into_iter().find(fits).map(|wg| Coop { wg })
    }

    pub(super) fn coop_variant(&self, coop: Coop) -> Variant {
        Variant::new(DType::F16)
            .set("WG", coop.wg)
            .set("HEADS", self.heads)
            .set("KV_HEADS", self.kv_heads)
            .set("D", self.head_dim)
    }

    /// Workgroups on matrix units of a kernel with so many heads.
    pub(super) fn coop_groups(&self, heads: usize, coop: Coop) -> u64 {
        (self.len.div_ceil(coop.wg / 2) * self.batch * heads) as u64
    }

    /// Workgroups of a kernel that shares out so many queries or keys of so many heads.
    pub(super) fn groups(&self, len: usize, heads: usize) -> u64 {
        (len.div_ceil(self.rows()) * self.batch * heads) as u64
    }

    /// The bytes of [`Params`].
    pub(super) fn params(&self) -> Vec<u8> {
        let params = Params {
            batch: self.batch as u32,
            len: self.len as u32,
            keys: self.keys as u32,
            scale: self.scale,
        };
        bytemuck::bytes_of(&params).to_vec()
    }

    pub(super) fn variant(&self) -> Variant {
        Variant::new(DType::F32)
            .set("HEADS", self.heads)
            .set("KV_HEADS", self.kv_heads)
            .set("D", self.head_dim)
            .set("BQ", self.rows())
            .set("CAUSAL", self.causal)
            .set("BIAS", self.bias)
            .set("LENGTHS", self.padded)
    }

    /// Of so many products of rows by rows, and arrays like q and like k.
    pub(super) fn cost(&self, products: usize, read: [usize; 2], written: [usize; 2]) -> Cost {
        let bytes = |[q, kv]: [usize; 2]| 4 * (q * self.q_len() + kv * self.kv_len()) as u64;
        let pairs = match self.causal {
            true => self.lse_len() * (self.len + 1) / 2,
            false => self.lse_len() * self.keys,
        };
        Cost {
            read_bytes: bytes(read),
            write_bytes: bytes(written),
            macs: (products * pairs * self.head_dim) as u64,
        }
    }
}

pub(super) const CATEGORY: Category = Category::Attention;

/// Sizes for cases, and limits: heads that share keys, every tile, ragged ends, folded grids; then those of an encoder,
/// of a decoder with a bias, and of what a decoder sees of an encoder.
pub(super) fn shapes() -> Vec<(Shape, Caps)> {
    let causal = [true, false, false];
    [
        ([1, 1, 1, 1, 1, 4], causal, 65_535),
        ([2, 37, 37, 4, 2, 16], causal, 3),
        ([1, 70, 70, 2, 2, 32], causal, 65_535),
        ([3, 33, 33, 6, 2, 64], causal, 5),
        ([1, 41, 41, 2, 1, 128], causal, 65_535),
        ([2, 19, 19, 3, 1, 80], causal, 65_535),
        ([2, 43, 43, 3, 3, 16], [false, true, true], 4),
        ([1, 35, 35, 2, 2, 64], [true, true, false], 65_535),
        ([3, 9, 50, 2, 1, 32], [false, false, true], 65_535),
    ]
    .map(
        |([batch, len, keys, heads, kv_heads, head_dim], [causal, bias, padded], max_groups)| {
            let shape = Shape {
                batch,
                len,
                keys,
                heads,
                kv_heads,
                head_dim,
                scale: 1.3 / (head_dim as f32).sqrt(),
                causal,
                bias,
                padded,
            };
            let caps = Caps {
                max_groups,
                ..Caps::default()
            };
            (shape, caps)
        },
    )
    .to_vec()
}

/// The bias and the lengths of a case; without them an element, which stands for q.
pub(super) fn more_inputs(s: Shape) -> [Array; 2] {
    let bias = if s.bias { s.heads * s.span() } else { 1 };
    // The last sequence of several has nothing to see.
    let length = |b: usize| s.keys - (b * s.keys).div_ceil(s.batch.max(2) - 1);
    let lengths = (0..s.batch).map(|b| length(b) as u32).collect();
    [Array::F32(noise(7, bias)), Array::U32(lengths)]
}

/// The same on matrix units.
pub(super) fn coop_shapes() -> Vec<(Shape, Caps)> {
    use crate::kernels::matmul::linear::with_matrix_units;
    (shapes().into_iter())
        .filter(|(s, _)| s.head_dim % 16 == 0 && s.causal && !s.bias)
        .map(|(s, caps)| (s, with_matrix_units(&caps)))
        .collect()
}
