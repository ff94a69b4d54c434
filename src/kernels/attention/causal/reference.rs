//! What the kernels of [`super::Shape`]'s attention compute, as loops.

use super::{NOTHING, Params, Shape, more_inputs};
use crate::shader::{Array, Case, Real, noise};

/// What scores are made of, beside keys and queries.
#[derive(Clone, Copy)]
pub struct Seen<'a, R> {
    pub bias: &'a [R],
    pub lengths: &'a [u32],
}

impl<R> Seen<'_, R> {
    /// The first keys, as many as query `i` of sequence `b` sees.
    fn keys(&self, s: Shape, b: usize, i: usize) -> usize {
        let most = if s.causal { i + 1 } else { s.keys };
        match s.padded {
            true => most.min(self.lengths[b] as usize),
            false => most,
        }
    }
}

/// o and lse. The arrays are q, k and v.
pub fn attend<R: Real>(s: Shape, seen: Seen<R>, a: [&[R]; 3]) -> [Vec<R>; 2] {
    let d = s.head_dim;
    let mut o = vec![R::zero(); s.q_len()];
    let mut lse = vec![R::of(NOTHING); s.lse_len()];
    for (b, h, i) in queries(s) {
        let scores: Vec<R> = (0..seen.keys(s, b, i))
            .map(|j| score(s, seen, a[0], a[1], [b, h, i, j]))
            .collect();
        let Some(&first) = scores.first() else {
            continue;
        };
        let most = scores.iter().fold(first, |a, &b| a.max(b));
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

/// dq, dk, dv, and of each sequence the gradient of the bias, from stats. The arrays are q, k, v, do and stats.
pub fn gradients<R: Real>(s: Shape, seen: Seen<R>, a: &[Vec<R>]) -> [Vec<R>; 4] {
    let scale = R::of(f64::from(s.scale));
    let mut dq = vec![R::zero(); s.q_len()];
    let mut dk = vec![R::zero(); s.kv_len()];
    let mut dv = dk.clone();
    let mut dbias = vec![R::zero(); s.batch * s.heads * s.span()];
    for (b, h, i) in queries(s) {
        let stat = &a[4][((b * s.heads + h) * s.len + i) * 2..][..2];
        for j in 0..seen.keys(s, b, i) {
            let (q, kv) = (q_at(s, b, h, i), kv_at(s, b, h, j));
            let weight = (score(s, seen, &a[0], &a[1], [b, h, i, j]) - stat[0]).exp();
            let change: R = (0..s.head_dim).map(|c| a[3][q + c] * a[2][kv + c]).sum();
            let slope = weight * (change - stat[1]);
            dbias[b * s.heads * s.span() + bias_at(s, h, i, j)] += slope;
            for c in 0..s.head_dim {
                dq[q + c] += slope * scale * a[1][kv + c];
                dk[kv + c] += slope * scale * a[0][q + c];
                dv[kv + c] += weight * a[3][q + c];
            }
        }
    }
    [dq, dk, dv, dbias]
}

/// The inputs of all backward kernels: q, k, v, do, the stats that belong to them, bias and lengths.
pub fn backward_inputs(s: Shape) -> Vec<Array> {
    let wide = |v: &[f32]| -> Vec<f64> { v.iter().map(|&v| f64::from(v)).collect() };
    let [q, d_o] = [1, 4].map(|seed| noise(seed, s.q_len()));
    let [k, v] = [2, 3].map(|seed| noise(seed, s.kv_len()));
    let more = more_inputs(s);
    let (bias, lengths) = match &more {
        [Array::F32(bias), Array::U32(lengths)] => (wide(bias), &lengths[..]),
        _ => (Vec::new(), &[][..]),
    };
    let seen = Seen {
        bias: &bias,
        lengths,
    };
    let [o, lse] = attend(s, seen, [&wide(&q), &wide(&k), &wide(&v)]);
    let stats = stats(s, &o, &wide(&d_o), &lse);
    let stats = stats.iter().map(|&v| v as f32).collect();
    let mut all = [q, k, v, d_o, stats].map(Array::F32).to_vec();
    all.extend(more);
    all
}

/// (lse, do · o) of each query.
pub fn stats<R: Real>(s: Shape, o: &[R], d_o: &[R], lse: &[R]) -> Vec<R> {
    let mut out = vec![R::zero(); 2 * s.lse_len()];
    for (b, h, i) in queries(s) {
        let (at, to) = (q_at(s, b, h, i), (b * s.heads + h) * s.len + i);
        out[2 * to] = lse[to];
        out[2 * to + 1] = (0..s.head_dim).map(|c| o[at + c] * d_o[at + c]).sum();
    }
    out
}

/// The gradients that a backward kernel's case is of.
pub fn gradients_of<R: Real>(case: &Case, arrays: &[Vec<R>]) -> [Vec<R>; 4] {
    let seen = Seen {
        bias: &arrays[5],
        lengths: case.whole(6),
    };
    gradients(shape_of(case), seen, arrays)
}

/// The shape that a case was made of.
pub fn shape_of(case: &Case) -> Shape {
    let (size, flag) = (
        |name| case.variant().u32(name) as usize,
        |name| case.variant().bool(name),
    );
    let p: Params = case.params();
    Shape {
        batch: p.batch as usize,
        len: p.len as usize,
        keys: p.keys as usize,
        heads: size("HEADS"),
        kv_heads: size("KV_HEADS"),
        head_dim: size("D"),
        scale: p.scale,
        causal: flag("CAUSAL"),
        bias: flag("BIAS"),
        padded: flag("LENGTHS"),
    }
}

/// The shape of a case on matrix units, which are causal and plain.
pub fn coop_shape(case: &Case, batch: u32, len: u32, scale: f32) -> Shape {
    let size = |name| case.variant().u32(name) as usize;
    Shape {
        batch: batch as usize,
        len: len as usize,
        keys: len as usize,
        heads: size("HEADS"),
        kv_heads: size("KV_HEADS"),
        head_dim: size("D"),
        scale,
        causal: true,
        bias: false,
        padded: false,
    }
}

/// Scores of nothing but queries and keys, all of which are there.
pub fn plain<'a, R>() -> Seen<'a, R> {
    Seen {
        bias: &[],
        lengths: &[],
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
    ((b * s.keys + j) * s.kv_heads + h / (s.heads / s.kv_heads)) * s.head_dim
}

fn bias_at(s: Shape, h: usize, i: usize, j: usize) -> usize {
    h * s.span() + j + s.len - 1 - i
}

fn score<R: Real>(s: Shape, seen: Seen<R>, q: &[R], k: &[R], [b, h, i, j]: [usize; 4]) -> R {
    let (q, k) = (&q[q_at(s, b, h, i)..], &k[kv_at(s, b, h, j)..]);
    let dot: R = (0..s.head_dim).map(|c| q[c] * k[c]).sum();
    let scaled = dot * R::of(f64::from(s.scale));
    match s.bias {
        true => scaled + seen.bias[bias_at(s, h, i, j)],
        false => scaled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every gradient of the shape against finite differences of `attend`.
    fn check(s: Shape, lengths: &[u32]) {
        let wide = |n, seed| -> Vec<f64> { noise(seed, n).iter().map(|&v| v.into()).collect() };
        let d_o = wide(s.q_len(), 4);
        let sizes = [s.q_len(), s.kv_len(), s.kv_len(), s.heads * s.span()];
        let mut a: Vec<Vec<f64>> = (1..).zip(sizes).map(|(seed, n)| wide(n, seed)).collect();
        let at = |a: &[Vec<f64>]| {
            let bias = &a[3];
            attend(s, Seen { bias, lengths }, [&a[0], &a[1], &a[2]])
        };
        let loss = |a: &[Vec<f64>]| -> f64 { at(a)[0].iter().zip(&d_o).map(|(o, d)| o * d).sum() };
        let [o, lse] = at(&a);
        let stats = stats(s, &o, &d_o, &lse);
        let all = [&a[..3], &[d_o.clone(), stats]].concat();
        let bias = &a[3].clone();
        let [dq, dk, dv, by_sequence] = gradients(s, Seen { bias, lengths }, &all);
        let mut dbias = vec![0.0; if s.bias { bias.len() } else { 0 }];
        for of_one in by_sequence.chunks(bias.len()) {
            dbias.iter_mut().zip(of_one).for_each(|(sum, v)| *sum += v);
        }
        for (which, gradient) in [dq, dk, dv, dbias].iter().enumerate() {
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
                    "{s:?}: {which} at {i}: {want} for {slope}"
                );
            }
        }
    }

    #[test]
    fn gradients_are_the_slopes_of_attention() {
        let causal = Shape {
            batch: 2,
            len: 5,
            keys: 5,
            heads: 4,
            kv_heads: 2,
            head_dim: 4,
            scale: 0.7,
            causal: true,
            bias: false,
            padded: false,
        };
        check(causal, &[]);
        let encoder = Shape {
            causal: false,
            bias: true,
            padded: true,
            ..causal
        };
        check(encoder, &[5, 3]);
        let across = Shape {
            keys: 7,
            bias: false,
            ..encoder
        };
        check(across, &[0, 6]);
        check(
            Shape {
                bias: true,
                ..causal
            },
            &[],
        );
    }
}
