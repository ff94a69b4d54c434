//! What cascaded group attention is tested on, and by.

use super::{Binds, Choice, Held, KEY, Params, Shape, dispatch, packed_len, packing};
use crate::kernels::block_index;
use crate::shader::{Arg, Array, Caps, Case, Real, noise};
use crate::tensor::DType;

pub(super) fn cases() -> Vec<Case> {
    let shape = |batch, [h, w]: [usize; 2], heads, d, window, kernels| Shape {
        batch,
        h,
        w,
        heads,
        d,
        window,
        kernels,
        parts: if batch == 3 { 2 } else { 1 },
    };
    let m0_1 = shape(1, [14, 14], 4, 16, 7, [5; 4]);
    let two = shape(1, [7, 7], 2, 16, 7, [7, 5, 3, 3]);
    let small = shape(3, [4, 4], 2, 16, 4, [7, 5, 3, 3]);
    let ragged = shape(1, [8, 9], 2, 20, 7, [5, 7, 3, 3]);
    let wide = shape(1, [7, 7], 2, 64, 7, [3; 4]);
    let tiny = shape(2, [3, 6], 3, 16, 3, [3, 5, 1, 3]);
    let large = shape(1, [9, 9], 1, 16, 9, [5; 4]);
    let square = shape(3, [14, 7], 2, 20, 7, [5, 7, 3, 3]);
    let (all, one, none) = (Held::All, Held::OneHead, Held::Nothing);
    // WG, CHUNK, AV_ROWS, PAD, PROJECT, HELD, STAGE, and whether f16 alone.
    let list = [
        (m0_1, 256, [52, 4, 2], (true, all, true), true),
        (m0_1, 128, [52, 4, 0], (false, one, false), true),
        (two, 256, [52, 1, 0], (true, all, true), false),
        (two, 64, [52, 2, 1], (false, all, true), true),
        (small, 128, [16, 2, 2], (true, all, false), false),
        (small, 64, [16, 1, 2], (false, one, true), true),
        (ragged, 128, [52, 4, 1], (true, all, false), true),
        (ragged, 256, [52, 2, 1], (false, one, true), true),
        (wide, 256, [52, 4, 2], (true, all, true), true),
        (wide, 256, [52, 4, 0], (false, one, false), false),
        (tiny, 64, [12, 4, 2], (true, all, true), true),
        (large, 128, [32, 4, 1], (true, all, true), true),
        (large, 128, [16, 4, 0], (false, one, false), true),
        (square, 128, [16, 4, 0], (false, none, false), false),
        (two, 64, [12, 2, 1], (false, none, true), true),
    ];
    let scaled = |v: Vec<f32>, by: f32| v.into_iter().map(|v| v * by).collect();
    let case = |elem,
                (s, wg, [chunk, av_rows, pad], (project, held, stage), _): (
        Shape,
        u32,
        [u32; 3],
        (bool, Held, bool),
        bool,
    )| {
        let way = Choice {
            wg,
            chunk,
            av_rows,
            pad,
            project,
            held,
            stage,
        };
        let caps = Caps {
            max_groups: if s.batch == 3 { 2 } else { 65_535 },
            ..Caps::default()
        };
        let x = s.batch * s.h * s.w * s.channels();
        let binds = Binds {
            x: Arg(0),
            w: Arg(1),
            b: Arg(2),
            y: Arg(3),
        };
        let [w, b] = packing(&s, way.project, false);
        Case {
            name: format!(
                "{}x{}x{}_{}heads_window{}",
                s.batch, s.h, s.w, s.heads, s.window
            ),
            dispatch: dispatch(&way, elem, &s, binds, &caps),
            arrays: vec![
                Array::Elem(scaled(noise(1, s.parts * x), 1.0 / s.parts as f32)),
                Array::Elem(scaled(noise(2, packed_len(&w)), 1.0 / (s.d as f32).sqrt())),
                Array::Elem(scaled(noise(3, packed_len(&b)), 0.25)),
                Array::Out(x),
            ],
        }
    };
    let half = list.iter().map(|&c| case(DType::F16, c));
    let full = list.iter().filter(|c| !c.4).map(|&c| case(DType::F32, c));
    half.chain(full).collect()
}

pub(in crate::kernels) fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let (p, v, elem): (Params, _, _) = (case.params(), case.variant(), case.elem());
    let u = |name| v.u32(name) as usize;
    let (c, d, ws, h, w) = (u("CHANNELS"), u("D"), u("WS"), p.h as usize, p.w as usize);
    let (n, cols, kernels) = (ws * ws, 2 * KEY + d, [u("K0"), u("K1"), u("K2"), u("K3")]);
    let (weights, b) = (&arrays[1], &arrays[2]);
    let parts: Vec<&[R]> = arrays[0].chunks(4 * p.part4 as usize).collect();
    let x: Vec<R> = (0..parts[0].len())
        .map(|i| parts.iter().map(|part| part[i]).sum())
        .collect();
    // On matrix units biases are in tiles of 16 keys, and weights in blocks.
    let blocks = !v.choice("window_project").is_empty();
    let place = |j: usize, i: usize, m: usize| match blocks {
        true => block_index(j, i, m),
        false => j * m + i,
    };
    // a [n, k] times the weights at `at` [k, m], plus the biases at `bias`.
    let affine = |a: &[R], k: usize, at: usize, m: usize, bias: usize| -> Vec<R> {
        (0..n * m)
            .map(|i| {
                let dot = (0..k).map(|j| a[i / m * k + j] * weights[at + place(j, i % m, m)]);
                dot.sum::<R>() + b[bias + i % m]
            })
            .collect()
    };
    // Where the bias of a query and a key is in a head's, and how many elements these are.
    let row = n.next_multiple_of(4);
    let tiled = blocks;
    let bias_of = |t: usize, s: usize| match tiled {
        true => (s / 16 * n + t) * 16 + s - (s / 16 * 16).min(n - 16),
        false => t * row + s,
    };
    let biases = if tiled {
        n.div_ceil(16) * n * 16
    } else {
        n * row
    };
    let mut y = vec![R::zero(); x.len()];
    for window in 0..p.windows as usize {
        let (image, of_map) = (
            window / (p.across * p.down) as usize,
            window % (p.across * p.down) as usize,
        );
        let (y0, x0) = (
            of_map / p.across as usize * ws,
            of_map % p.across as usize * ws,
        );
        let token = |t: usize| {
            let (ty, tx) = (y0 + t / ws, x0 + t % ws);
            (ty < h && tx < w).then(|| ((image * h + ty) * w + tx) * c)
        };
        let (mut o, mut prev, mut at) = (vec![R::zero(); n * c], vec![R::zero(); n * d], 0);
        for head in 0..u("HEADS") {
            let k = kernels[head];
            let f: Vec<R> = (0..n * d)
                .map(|i| {
                    let x = token(i / d).map_or(R::zero(), |t| x[t + head * d + i % d]);
                    (x + prev[i]).stored(elem)
                })
                .collect();
            let qkv: Vec<R> = affine(&f, d, head * d * cols, cols, at)
                .into_iter()
                .map(|v| v.stored(elem))
                .collect();
            let (taps, bias) = (at + cols, at + cols + k * k * KEY);
            let q: Vec<R> = (0..n * KEY)
                .map(|i| {
                    let (t, ch) = (i / KEY, i % KEY);
                    let near = (0..n).filter_map(|s| {
                        let (ky, kx) = (s / ws + k / 2, s % ws + k / 2);
                        let (ky, kx) = (ky.checked_sub(t / ws)?, kx.checked_sub(t % ws)?);
                        (ky < k && kx < k)
                            .then(|| b[taps + (ky * k + kx) * KEY + ch] * qkv[s * cols + ch])
                    });
                    (near.sum::<R>() + b[bias + ch]).stored(elem)
                })
                .collect();
            for t in 0..n {
                let scores: Vec<R> = (0..n)
                    .map(|s| {
                        let dot = (0..KEY).map(|j| q[t * KEY + j] * qkv[s * cols + KEY + j]);
                        dot.sum::<R>() + b[bias + KEY + bias_of(t, s)]
                    })
                    .collect();
                let most = scores.iter().fold(scores[0], |m, &s| m.max(s));
                let e: Vec<R> = scores
                    .iter()
                    .map(|&s| (s - most).exp().stored(elem))
                    .collect();
                let sum: R = e.iter().copied().sum();
                for j in 0..d {
                    let av: R = (0..n).map(|s| e[s] * qkv[s * cols + 2 * KEY + j]).sum();
                    prev[t * d + j] = av / sum;
                    o[t * c + head * d + j] = (av / sum).relu().stored(elem);
                }
            }
            at = bias + KEY + biases;
        }
        if v.bool("PROJECT") {
            o = affine(&o, c, u("HEADS") * d * cols, c, at);
        }
        for (t, token) in (0..n).filter_map(|t| Some((t, token(t)?))) {
            for j in 0..c {
                let residual = if v.bool("PROJECT") {
                    x[token + j]
                } else {
                    R::zero()
                };
                y[token + j] = (residual + o[t * c + j]).stored(elem);
            }
        }
    }
    vec![y]
}
