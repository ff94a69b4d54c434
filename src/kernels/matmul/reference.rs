//! What a matrix product must give, whichever kernel computes it.

use super::gemm;
use crate::shader::{Case, Real};

/// The constants of a case's variant that its reference needs.
struct Shape {
    n: usize,
    k: usize,
    map: [usize; 2],
    out: [usize; 2],
}

/// The reference of every product kernel.
pub(super) fn reference<R: Real>(case: &Case, a: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: gemm::Params = case.params();
    let v = case.variant();
    let c = |name| v.u32(name) as usize;
    let s = Shape {
        n: c("N"),
        k: c("K"),
        map: [c("IN_H"), c("IN_W")],
        out: [c("OUT_H"), c("OUT_W")],
    };
    let m = p.m as usize;
    let depthwise = |x: &[R], width: usize, row: usize, channel: usize| -> R {
        let [h, w] = s.map;
        let (oy, ox) = (row / w % h, row % w);
        let mut sum = a[1][9 * width + channel];
        for (ky, kx) in (0..9).map(|t| (t / 3, t % 3)) {
            let (iy, ix) = ((oy + ky).wrapping_sub(1), (ox + kx).wrapping_sub(1));
            if iy < h && ix < w {
                let at = row / (h * w) * h * w + iy * w + ix;
                sum += x[at * width + channel] * a[1][(ky * 3 + kx) * width + channel];
            }
        }
        sum
    };
    let load = |row: usize, k: usize| -> R {
        match v.choice("load_a") {
            "rows" => a[0][p.x_offset as usize + row * c("X_STRIDE") + k],
            "im2col" => {
                let (channels, side) = (c("IN_C"), c("SIDE"));
                let (tap, channel) = (k / channels, k % channels);
                let [oh, ow] = s.out;
                let pixel = row % (oh * ow);
                let iy = (pixel / ow * c("STRIDE") + tap / side).wrapping_sub(c("PAD"));
                let ix = (pixel % ow * c("STRIDE") + tap % side).wrapping_sub(c("PAD"));
                if iy < s.map[0] && ix < s.map[1] {
                    a[0][((row / (oh * ow) * s.map[0] + iy) * s.map[1] + ix) * channels + channel]
                } else {
                    R::zero()
                }
            }
            "depthwise" => depthwise(&a[0], s.k, row, k),
            "gated" => a[0][row * s.k + k] * a[1][row / (s.out[0] * s.out[1]) * s.k + k],
            _ => {
                let positions = s.map[0] * s.map[1];
                let sum: R = (0..positions)
                    .map(|i| a[0][(row * positions + i) * s.k + k])
                    .sum();
                sum * R::of(f64::from(p.scale))
            }
        }
    };
    let mut y = Vec::with_capacity(m * s.n);
    for row in 0..m {
        let loaded: Vec<R> = (0..s.k).map(|k| load(row, k)).collect();
        for n in 0..s.n {
            let mut sum: R = (0..s.k).map(|k| loaded[k] * a[2][k * s.n + n]).sum();
            sum += a[3][n];
            sum = match v.choice("activation") {
                "relu" => sum.relu(),
                "sigmoid" => sum.sigmoid(),
                _ => sum,
            };
            sum += match v.choice("load_r") {
                "rows" => a[4][row * s.n + n],
                "parts" => (0..c("R_PARTS"))
                    .map(|i| a[4][(i * m + row) * s.n + n])
                    .sum(),
                "depthwise" => depthwise(&a[4], s.n, row, n),
                _ => R::zero(),
            };
            y.push(sum.stored(case.elem()));
        }
    }
    vec![y]
}
