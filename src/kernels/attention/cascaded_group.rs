//! Cascaded group attention of EfficientViT: all heads of a window in one workgroup.
//!
//! Bytes: x once (twice with the projection, whose residual it is), y once, and for each window the weights, which
//! many windows share in the cache. Operations for each window of N tokens: N D (32 + D) + 16 N k² + N² (16 + D) for
//! each head, and N C² for the projection. At batch 2048 the operations bound it (M5's stage 2: 8.4 M multiply-adds
//! for 56 KB); at batch 1 the length of the chain does: seven barriers for each head, with one or four workgroups.

use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "attention/cascaded_group.wgsl",
    params { windows: u32, across: u32, down: u32, h: u32, w: u32 },
    binds { x: Read, w: Read, b: Read, y: Write },
}

/// Channels of q and of k.
pub const KEY: usize = 16;
/// The most heads that a group of attention may have.
pub const MAX_HEADS: usize = 4;

/// What is computed: sizes of x [batch, h, w, heads * d], of its windows, and of each head's depthwise kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub batch: usize,
    pub h: usize,
    pub w: usize,
    pub heads: usize,
    /// Channels of a head.
    pub d: usize,
    /// Side of a window.
    pub window: usize,
    /// Side of each head's depthwise kernel; only the first `heads` count.
    pub kernels: [usize; MAX_HEADS],
}

impl Shape {
    pub const fn channels(&self) -> usize {
        self.heads * self.d
    }

    /// Tokens of a window.
    pub const fn tokens(&self) -> usize {
        self.window * self.window
    }

    /// Windows of a map, down and across.
    pub const fn grid(&self) -> [usize; 2] {
        [self.h.div_ceil(self.window), self.w.div_ceil(self.window)]
    }

    pub const fn windows(&self) -> usize {
        self.batch * self.grid()[0] * self.grid()[1]
    }
}

/// How it is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The implementation of `tile_matmul`.
    pub matmul: &'static str,
    pub wg: u32,
    /// Query rows whose scores are held at a time.
    pub chunk: u32,
    /// Rows of an invocation's tile of the product with v.
    pub av_rows: u32,
    /// Padding of rows in workgroup memory, in vectors of 4 elements.
    pub pad: u32,
    /// Whether the projection and the residual are in it; without, y is the heads' outputs after ReLU.
    pub project: bool,
}

/// A part of a packed weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// [D, 32 + D]: q, k and v of one head, inputs first.
    Qkv(usize),
    /// [C, C], inputs first.
    Proj,
    /// [32 + D].
    QkvBias(usize),
    /// [k, k, 16], with the scale of the scores in it.
    Depthwise(usize),
    /// [16], with the scale of the scores in it.
    DepthwiseBias(usize),
    /// [window * window]: the relative bias at |dy| * window + |dx|.
    Table(usize),
    /// [C].
    ProjBias,
}

/// One part after the other, each padded at its end to a multiple of 4 elements.
pub type Packing = Vec<(Part, Vec<usize>)>;

/// What the bindings `w` and `b` hold, in order; without `project`, they end before the projection's parts.
pub fn packing(shape: &Shape, project: bool) -> [Packing; 2] {
    let (d, c) = (shape.d, shape.channels());
    let (mut w, mut b) = (Packing::new(), Packing::new());
    for (i, &k) in shape.kernels.iter().enumerate().take(shape.heads) {
        w.push((Part::Qkv(i), vec![d, 2 * KEY + d]));
        b.push((Part::QkvBias(i), vec![2 * KEY + d]));
        b.push((Part::Depthwise(i), vec![k, k, KEY]));
        b.push((Part::DepthwiseBias(i), vec![KEY]));
        b.push((Part::Table(i), vec![shape.tokens()]));
    }
    if project {
        w.push((Part::Proj, vec![c, c]));
        b.push((Part::ProjBias, vec![c]));
    }
    [w, b]
}

/// Elements of a packing.
pub fn packed_len(packing: &Packing) -> usize {
    let padded = |s: &Vec<usize>| s.iter().product::<usize>().next_multiple_of(4);
    packing.iter().map(|(_, s)| padded(s)).sum()
}

/// Bytes of workgroup memory of the variant.
pub fn workgroup_bytes(shape: &Shape, choice: &Choice, elem: DType) -> u32 {
    let u = |v: usize| u32::try_from(v).unwrap_or(u32::MAX);
    let (n, d4) = (u(shape.tokens()), u(shape.d / 4));
    let keys4 = n.div_ceil(4);
    let p4 = keys4.max(4) + 1;
    let whole = choice.chunk >= n;
    let row4 = match (choice.project, whole) {
        (true, _) => u(shape.channels() / 4),
        (false, true) => d4.max(p4),
        (false, false) => d4,
    };
    let alias = whole && (!choice.project || d4 >= p4);
    let p = if alias { 0 } else { choice.chunk * p4 };
    let tile = n * (row4 + choice.pad + 8 + d4 + choice.pad / 2) + p;
    let staging = if choice.matmul == "coop" {
        choice.wg / 32 * 1024
    } else {
        0
    };
    (tile * 4 * elem.bytes() as u32).next_multiple_of(16) + (choice.chunk + keys4) * 16 + staging
}

/// Whether the kernel computes the shape this way on such an adapter.
pub fn fits(caps: &Caps, elem: DType, shape: &Shape, choice: &Choice) -> bool {
    let coop = caps.coop.is_some_and(|m| (m.m, m.n, m.k) == (16, 16, 16))
        && caps.subgroup_min == 32
        && elem == DType::F16
        && shape.d.is_multiple_of(16)
        && shape.window >= 4;
    (elem != DType::F16 || caps.f16)
        && (choice.matmul != "coop" || coop)
        && (1..=MAX_HEADS).contains(&shape.heads)
        && shape.d >= 16
        && shape.d.is_multiple_of(4)
        && (2..=16).contains(&shape.window)
        && choice.wg <= caps.max_invocations
        && workgroup_bytes(shape, choice, elem) <= caps.max_workgroup_bytes
}

/// The way that is expected to be the fastest on such an adapter, or `None` where none fits: then the heads are
/// computed one after the other by other kernels.
pub fn choose(caps: &Caps, elem: DType, shape: &Shape) -> Option<Choice> {
    let n = shape.tokens() as u32;
    let many = shape.windows() >= caps.parallel as usize;
    let chunks: &[u32] = if n <= 64 {
        &[n.next_multiple_of(4)]
    } else {
        &[64, 32, 16]
    };
    let projects: &[bool] = if many { &[true, false] } else { &[false] };
    let mut ways = Vec::new();
    for &project in projects {
        for matmul in ["coop", "scalar"] {
            for wg in [256, 128, 64] {
                for &chunk in chunks {
                    for pad in [2, 0] {
                        let rows = |r: &u32| many || chunk / r * (shape.d as u32 / 4) <= wg;
                        let smallest: &[u32] = if many { &[4] } else { &[1, 2, 4] };
                        ways.push(Choice {
                            matmul,
                            wg,
                            chunk,
                            av_rows: smallest.iter().copied().find(rows).unwrap_or(4),
                            pad,
                            project,
                        });
                    }
                }
            }
        }
    }
    ways.into_iter().find(|c| fits(caps, elem, shape, c))
}

/// One dispatch of `choice` over x of `shape`.
pub fn dispatch(
    choice: &Choice,
    elem: DType,
    shape: &Shape,
    binds: Binds,
    caps: &Caps,
) -> Dispatch {
    let u = |v: usize| u32::try_from(v).unwrap_or(u32::MAX);
    let [down, across] = shape.grid();
    let params = Params {
        windows: u(shape.windows()),
        across: u(across),
        down: u(down),
        h: u(shape.h),
        w: u(shape.w),
    };
    let mut variant = Variant::new(elem)
        .choose("tile_matmul", choice.matmul)
        .set("WG", choice.wg)
        .set("CHANNELS", shape.channels())
        .set("HEADS", shape.heads)
        .set("D", shape.d)
        .set("WS", shape.window);
    for (name, k) in ["K0", "K1", "K2", "K3"].into_iter().zip(shape.kernels) {
        variant = variant.set(name, k);
    }
    variant = variant
        .set("CHUNK", choice.chunk)
        .set("AV_ROWS", choice.av_rows)
        .set("PAD", choice.pad)
        .set("PROJECT", choice.project);
    let (n, d, c) = (shape.tokens(), shape.d, shape.channels());
    let heads: usize = (shape.kernels.iter().take(shape.heads))
        .map(|k| n * (d * (2 * KEY + d) + KEY * k * k + n * (KEY + d)))
        .sum();
    let project = if choice.project { n * c * c } else { 0 };
    let map = shape.batch * shape.h * shape.w * c;
    let weights: usize = packing(shape, choice.project).iter().map(packed_len).sum();
    Dispatch {
        kernel: &SPEC,
        variant,
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(shape.windows() as u64, caps),
        category: Category::Attention,
        cost: Cost {
            read_bytes: (elem.bytes() * (map + weights)) as u64,
            write_bytes: (elem.bytes() * map) as u64,
            macs: (shape.windows() * (heads + project)) as u64,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let shape = |batch, [h, w]: [usize; 2], heads, d, window, kernels| Shape {
        batch,
        h,
        w,
        heads,
        d,
        window,
        kernels,
    };
    let way = |matmul, wg, chunk, av_rows, pad, project| Choice {
        matmul,
        wg,
        chunk,
        av_rows,
        pad,
        project,
    };
    let m0_1 = shape(1, [14, 14], 4, 16, 7, [5; 4]);
    let two = shape(1, [7, 7], 2, 16, 7, [7, 5, 3, 3]);
    let small = shape(3, [4, 4], 2, 16, 4, [7, 5, 3, 3]);
    let ragged = shape(1, [8, 9], 2, 20, 7, [5, 7, 3, 3]);
    let wide = shape(1, [7, 7], 1, 64, 7, [3; 4]);
    let mut list = Vec::new();
    for project in [true, false] {
        for (shape, way) in [
            (m0_1, way("scalar", 256, 52, 4, 2, project)),
            (two, way("scalar", 256, 52, 1, 2, project)),
            (two, way("scalar", 64, 52, 2, 0, project)),
            (small, way("scalar", 128, 16, 2, 2, project)),
            (ragged, way("scalar", 128, 52, 4, 2, project)),
            (wide, way("scalar", 256, 52, 4, 0, project)),
            (
                shape(2, [3, 6], 3, 16, 3, [3, 5, 1, 3]),
                way("scalar", 64, 12, 4, 2, project),
            ),
            (
                shape(1, [9, 9], 1, 16, 9, [5; 4]),
                way("scalar", 128, 32, 4, 2, project),
            ),
            (m0_1, way("coop", 256, 52, 4, 2, project)),
            (small, way("coop", 128, 16, 2, 2, project)),
            (
                shape(2, [7, 9], 3, 96, 7, [7, 5, 3, 3]),
                way("coop", 128, 52, 4, 2, project),
            ),
        ] {
            for elem in [DType::F32, DType::F16] {
                if way.matmul == "coop" && elem == DType::F32 {
                    continue;
                }
                list.push((shape, way, elem));
            }
        }
    }
    list.into_iter()
        .map(|(s, way, elem)| {
            let caps = Caps {
                max_groups: if s.batch == 3 { 2 } else { 65_535 },
                ..Caps::default()
            };
            let x = s.batch * s.h * s.w * s.channels();
            let arg = |i| Arg(i);
            let binds = Binds {
                x: arg(0),
                w: arg(1),
                b: arg(2),
                y: arg(3),
            };
            let [w, b] = packing(&s, way.project);
            let scaled = |v: Vec<f32>, by: f32| v.into_iter().map(|v| v * by).collect();
            Case {
                name: format!(
                    "{}x{}x{}_{}heads_window{}",
                    s.batch, s.h, s.w, s.heads, s.window
                ),
                dispatch: dispatch(&way, elem, &s, binds, &caps),
                arrays: vec![
                    Array::Elem(noise(1, x)),
                    Array::Elem(scaled(noise(2, packed_len(&w)), 1.0 / (s.d as f32).sqrt())),
                    Array::Elem(scaled(noise(3, packed_len(&b)), 0.25)),
                    Array::Out(x),
                ],
            }
        })
        .collect()
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let (p, v, elem): (Params, _, _) = (case.params(), case.variant(), case.elem());
    let u = |name| v.u32(name) as usize;
    let (c, d, ws, h, w) = (u("CHANNELS"), u("D"), u("WS"), p.h as usize, p.w as usize);
    let (n, cols, kernels) = (ws * ws, 2 * KEY + d, [u("K0"), u("K1"), u("K2"), u("K3")]);
    let (x, weights, b) = (&arrays[0], &arrays[1], &arrays[2]);
    // a [n, k] times the weights at `at` [k, m], plus the biases at `bias`.
    let affine = |a: &[R], k: usize, at: usize, m: usize, bias: usize| -> Vec<R> {
        (0..n * m)
            .map(|i| {
                let dot = (0..k).map(|j| a[i / m * k + j] * weights[at + j * m + i % m]);
                dot.sum::<R>() + b[bias + i % m]
            })
            .collect()
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
                        let offset = (t / ws).abs_diff(s / ws) * ws + (t % ws).abs_diff(s % ws);
                        let dot = (0..KEY).map(|j| q[t * KEY + j] * qkv[s * cols + KEY + j]);
                        dot.sum::<R>() + b[bias + KEY + offset]
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
            at = bias + KEY + n.next_multiple_of(4);
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
