//! Causal attention of whole sequences, for training: sizes that its kernels share, and what their references compute.
//!
//! Forward keeps o and lse; backward is `causal_stats`, then `causal_bwd_dq` and `causal_bwd_dkv`, which compute the
//! scores again tile by tile: no matrix of scores is in memory.

use crate::shader::{Array, Caps, Case, Category, Cost, Real, Variant, noise};
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

/// The sizes of attention over q `[batch · len, heads · head_dim]` and k, v `[batch · len, kv_heads · head_dim]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    pub batch: usize,
    /// Positions of each sequence, with its padding.
    pub len: usize,
    /// A multiple of `kv_heads`.
    pub heads: usize,
    pub kv_heads: usize,
    /// A multiple of 4, at most 128.
    pub head_dim: usize,
    pub scale: f32,
}

impl Shape {
    /// Elements of q, o and their gradients.
    pub fn q_len(&self) -> usize {
        self.batch * self.len * self.heads * self.head_dim
    }

    /// Elements of k or v.
    pub fn kv_len(&self) -> usize {
        self.batch * self.len * self.kv_heads * self.head_dim
    }

    /// Elements of lse `[batch, heads, len]`.
    pub fn lse_len(&self) -> usize {
        self.batch * self.heads * self.len
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
        if !caps.matrix_units(DType::F16)
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

    /// Workgroups of a kernel with so many heads.
    pub(super) fn groups(&self, heads: usize) -> u64 {
        (self.len.div_ceil(self.rows()) * self.batch * heads) as u64
    }

    pub(super) fn variant(&self) -> Variant {
        Variant::new(DType::F32)
            .set("HEADS", self.heads)
            .set("KV_HEADS", self.kv_heads)
            .set("D", self.head_dim)
            .set("BQ", self.rows())
    }

    /// Of so many products of rows by rows, and arrays like q and like k.
    pub(super) fn cost(&self, products: usize, read: [usize; 2], written: [usize; 2]) -> Cost {
        let bytes = |[q, kv]: [usize; 2]| 4 * (q * self.q_len() + kv * self.kv_len()) as u64;
        let pairs = self.lse_len() * (self.len + 1) / 2;
        Cost {
            read_bytes: bytes(read),
            write_bytes: bytes(written),
            macs: (products * pairs * self.head_dim) as u64,
        }
    }
}

pub(super) const CATEGORY: Category = Category::Attention;

/// Sizes for cases, and limits: heads that share keys, every tile, ragged ends, folded grids.
pub(super) fn shapes() -> Vec<(Shape, Caps)> {
    [
        ([1, 1, 1, 1, 4], 65_535),
        ([2, 37, 4, 2, 16], 3),
        ([1, 70, 2, 2, 32], 65_535),
        ([3, 33, 6, 2, 64], 5),
        ([1, 41, 2, 1, 128], 65_535),
        ([2, 19, 3, 1, 80], 65_535),
    ]
    .map(|([batch, len, heads, kv_heads, head_dim], max_groups)| {
        let shape = Shape {
            batch,
            len,
            heads,
            kv_heads,
            head_dim,
            scale: 1.3 / (head_dim as f32).sqrt(),
        };
        let caps = Caps {
            max_groups,
            ..Caps::default()
        };
        (shape, caps)
    })
    .to_vec()
}

/// The same on matrix units.
pub(super) fn coop_shapes() -> Vec<(Shape, Caps)> {
    use crate::kernels::matmul::linear::with_matrix_units;
    (shapes().into_iter())
        .filter(|(s, _)| s.head_dim % 16 == 0)
        .map(|(s, caps)| (s, with_matrix_units(&caps)))
        .collect()
}

/// o and lse; `lengths` may be empty. The arrays are q, k and v.
pub(super) fn attend<R: Real>(s: Shape, lengths: &[u32], a: [&[R]; 3]) -> [Vec<R>; 2] {
    let d = s.head_dim;
    let mut o = vec![R::zero(); s.q_len()];
    let mut lse = vec![R::of(NOTHING); s.lse_len()];
    for (b, h, i) in queries(s) {
        if lengths.get(b).is_some_and(|&len| i >= len as usize) {
            continue;
        }
        let scores: Vec<R> = (0..=i)
            .map(|j| score(s, a[0], a[1], [b, h, i, j]))
            .collect();
        let most = scores.iter().fold(scores[0], |a, &b| a.max(b));
        let sum: R = scores.iter().map(|&v| (v - most).exp()).sum();
        lse[(b * s.heads + h) * s.len + i] = most + sum.ln();
        for (j, &score) in scores.iter().enumerate() {
            let (to, from) = (q_at(s, b, h, i), kv_at(s, b, h, j));
            for c in 0..d {
                o[to + c] += (score - most).exp() / sum * a[2][from + c];
            }
        }
    }
    [o, lse]
}

/// dq, dk and dv from stats. The arrays are q, k, v, do and stats.
pub(super) fn gradients<R: Real>(s: Shape, a: &[Vec<R>]) -> [Vec<R>; 3] {
    let scale = R::of(f64::from(s.scale));
    let mut dq = vec![R::zero(); s.q_len()];
    let mut dk = vec![R::zero(); s.kv_len()];
    let mut dv = dk.clone();
    for (b, h, i) in queries(s) {
        let stat = &a[4][((b * s.heads + h) * s.len + i) * 2..][..2];
        for j in 0..=i {
            let (q, kv) = (q_at(s, b, h, i), kv_at(s, b, h, j));
            let weight = (score(s, &a[0], &a[1], [b, h, i, j]) - stat[0]).exp();
            let change: R = (0..s.head_dim).map(|c| a[3][q + c] * a[2][kv + c]).sum();
            let slope = weight * (change - stat[1]) * scale;
            for c in 0..s.head_dim {
                dq[q + c] += slope * a[1][kv + c];
                dk[kv + c] += slope * a[0][q + c];
                dv[kv + c] += weight * a[3][q + c];
            }
        }
    }
    [dq, dk, dv]
}

/// The inputs of both backward kernels: q, k, v, do and the stats that belong to them, with padding.
pub(super) fn backward_inputs(s: Shape) -> Vec<Array> {
    let wide = |v: &[f32]| -> Vec<f64> { v.iter().map(|&v| f64::from(v)).collect() };
    let [q, d_o] = [1, 4].map(|seed| noise(seed, s.q_len()));
    let [k, v] = [2, 3].map(|seed| noise(seed, s.kv_len()));
    let lengths: Vec<u32> = (0..s.batch)
        .map(|b| (s.len - b * s.len / 4) as u32)
        .collect();
    let [o, lse] = attend(s, &lengths, [&wide(&q), &wide(&k), &wide(&v)]);
    let stats = stats(s, &o, &wide(&d_o), &lse);
    let stats = stats.iter().map(|&v| v as f32).collect();
    [q, k, v, d_o, stats].map(Array::F32).to_vec()
}

/// (lse, do · o) of each query.
pub(super) fn stats<R: Real>(s: Shape, o: &[R], d_o: &[R], lse: &[R]) -> Vec<R> {
    let mut out = vec![R::zero(); 2 * s.lse_len()];
    for (b, h, i) in queries(s) {
        let (at, to) = (q_at(s, b, h, i), (b * s.heads + h) * s.len + i);
        out[2 * to] = lse[to];
        out[2 * to + 1] = (0..s.head_dim).map(|c| o[at + c] * d_o[at + c]).sum();
    }
    out
}

/// The shape that a case was made of.
pub(super) fn shape_of(case: &Case, batch: u32, len: u32, scale: f32) -> Shape {
    let size = |name| case.variant().u32(name) as usize;
    Shape {
        batch: batch as usize,
        len: len as usize,
        heads: size("HEADS"),
        kv_heads: size("KV_HEADS"),
        head_dim: size("D"),
        scale,
    }
}

fn queries(s: Shape) -> impl Iterator<Item = (usize, usize, usize)> {
    let of = move |b| (0..s.heads).flat_map(move |h| (0..s.len).map(move |i| (b, h, i)));
    (0..s.batch).flat_map(of)
}

fn q_at(s: Shape, b: usize, h: usize, i: usize) -> usize {
    ((b * s.len + i) * s.heads + h) * s.head_dim
}

fn kv_at(s: Shape, b: usize, h: usize, j: usize) -> usize {
    ((b * s.len + j) * s.kv_heads + h / (s.heads / s.kv_heads)) * s.head_dim
}

fn score<R: Real>(s: Shape, q: &[R], k: &[R], [b, h, i, j]: [usize; 4]) -> R {
    let (q, k) = (&q[q_at(s, b, h, i)..], &k[kv_at(s, b, h, j)..]);
    let dot: R = (0..s.head_dim).map(|c| q[c] * k[c]).sum();
    dot * R::of(f64::from(s.scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_the_slopes_of_attention() {
        let s = Shape {
            batch: 2,
            len: 5,
            heads: 4,
            kv_heads: 2,
            head_dim: 4,
            scale: 0.7,
        };
        let lengths = [5, 3];
        let wide = |n, seed| -> Vec<f64> { noise(seed, n).iter().map(|&v| v.into()).collect() };
        let d_o = wide(s.q_len(), 4);
        let mut a = [(s.q_len(), 1), (s.kv_len(), 2), (s.kv_len(), 3)].map(|(n, i)| wide(n, i));
        let loss = |a: &[Vec<f64>; 3]| -> f64 {
            let [o, _] = attend(s, &lengths, [&a[0], &a[1], &a[2]]);
            o.iter().zip(&d_o).map(|(o, d)| o * d).sum()
        };
        let [o, lse] = attend(s, &lengths, [&a[0], &a[1], &a[2]]);
        let stats = stats(s, &o, &d_o, &lse);
        let all = [a.to_vec(), vec![d_o.clone(), stats]].concat();
        let gradients = gradients(s, &all);
        for (which, gradient) in gradients.iter().enumerate() {
            for (i, &want) in gradient.iter().enumerate() {
                let before = a[which][i];
                let mut at = |step: f64| {
                    a[which][i] = before + step;
                    let loss = loss(&a);
                    a[which][i] = before;
                    loss
                };
                let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!(
                    (slope - want).abs() < 1e-7,
                    "{which} at {i}: {want} for {slope}"
                );
            }
        }
    }
}
