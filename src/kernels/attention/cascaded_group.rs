//! Cascaded group attention of EfficientViT: all heads of a window in one workgroup.
//!
//! Bytes: x once (twice with the projection, whose residual it is), y once, and for each window the weights, which
//! many windows share in the cache. Operations for each window of N tokens: N D (32 + D) + 16 N k² + N² (16 + D) for
//! each head, and N C² for the projection. In scalar form the operations bound it with many windows (M5's stage 2:
//! 8.4 M multiply-adds for 56 KB), and the length of the chain with few.
//! [`cascaded_group_matrix`](super::cascaded_group_matrix) is its counterpart on matrix units.

pub(super) mod check;

use crate::kernel;
use crate::shader::{Caps, Category, Cost, Dispatch, Variant, fold_grid};
use crate::tensor::DType;
use check::{cases, reference};

kernel! {
    "attention/cascaded_group.wgsl",
    params { windows: u32, across: u32, down: u32, h: u32, w: u32, part4: u32 },
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
    /// Parts that x comes in: it is their sum.
    pub parts: usize,
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
    pub wg: u32,
    /// Query rows whose scores are held at a time, and rows of an invocation's tile of the product with v.
    pub chunk: u32,
    pub av_rows: u32,
    /// Padding of rows in workgroup memory, in vectors of 4 elements.
    pub pad: u32,
    /// Whether the projection and the residual are in it; without, y is the heads' outputs after ReLU.
    pub project: bool,
    /// What workgroup memory holds of the heads' inputs.
    pub held: Held,
    /// Whether it holds a head's biases and taps.
    pub stage: bool,
}

/// Of the heads' inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// None: a head's input is in y, in the channels that its output takes later. For maps of whole windows.
    Nothing,
    OneHead,
    All,
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
    /// [tokens, keys]: the relative bias of one head for each query, and for the keys from `from` on.
    Bias { head: usize, from: usize },
    /// [C].
    ProjBias,
}

/// One part after the other, with its shape; its last dimension is padded to a multiple of 4 elements.
pub type Packing = Vec<(Part, Vec<usize>)>;

/// What the bindings `w` and `b` hold, in order. `tiled`: the biases of 16 keys at a time, as matrix units take them.
pub fn packing(shape: &Shape, project: bool, tiled: bool) -> [Packing; 2] {
    let (d, c, n) = (shape.d, shape.channels(), shape.tokens());
    let (mut w, mut b) = (Packing::new(), Packing::new());
    for (head, &k) in shape.kernels.iter().enumerate().take(shape.heads) {
        w.push((Part::Qkv(head), vec![d, 2 * KEY + d]));
        b.push((Part::QkvBias(head), vec![2 * KEY + d]));
        b.push((Part::Depthwise(head), vec![k, k, KEY]));
        b.push((Part::DepthwiseBias(head), vec![KEY]));
        let (tiles, keys) = if tiled { (n.div_ceil(16), 16) } else { (1, n) };
        for i in 0..tiles {
            let from = (i * keys).min(n.saturating_sub(keys));
            b.push((Part::Bias { head, from }, vec![n, keys]));
        }
    }
    if project {
        w.push((Part::Proj, vec![c, c]));
        b.push((Part::ProjBias, vec![c]));
    }
    [w, b]
}

/// Elements of a packing.
pub fn packed_len(packing: &Packing) -> usize {
    let padded = |s: &[usize]| {
        s.split_last().map_or(0, |(l, r)| {
            l.next_multiple_of(4) * r.iter().product::<usize>()
        })
    };
    packing.iter().map(|(_, s)| padded(s)).sum()
}

/// Bytes of workgroup memory of the variant.
pub fn workgroup_bytes(shape: &Shape, choice: &Choice, elem: DType) -> u32 {
    let u = |v: usize| u32::try_from(v).unwrap_or(u32::MAX);
    let (n, d4) = (u(shape.tokens()), u(shape.d / 4));
    let (p_rows, p4) = (choice.chunk, n.div_ceil(4).max(4) + 1);
    let row4 = match (choice.held, p_rows >= n) {
        (Held::All, _) => u(shape.channels() / 4),
        (Held::OneHead, true) => d4.max(p4),
        (Held::OneHead, false) => d4,
        (Held::Nothing, _) => u(KEY / 4),
    };
    let alias = p_rows >= n
        && match choice.held {
            Held::Nothing => false,
            Held::OneHead => true,
            Held::All => d4 >= p4,
        };
    let p = if alias { 0 } else { p_rows * p4 };
    let k = u(shape.kernels.into_iter().max().unwrap_or(0));
    let staged = if choice.stage {
        (8 + d4 + (k * k + 1) * 4).next_multiple_of(2)
    } else {
        2
    };
    let tile = n * (row4 + 8 + d4 + 2 * choice.pad) + p;
    let sums = choice.chunk * 16;
    let bytes = 4 * elem.bytes() as u32;
    (tile * bytes).next_multiple_of(16) + (staged * bytes).next_multiple_of(16) + sums
}

fn whole_windows(shape: &Shape) -> bool {
    [shape.h, shape.w]
        .iter()
        .all(|n| n.is_multiple_of(shape.window))
}

/// Whether the kernel computes the shape this way on such an adapter.
pub fn fits(caps: &Caps, elem: DType, shape: &Shape, choice: &Choice) -> bool {
    (elem != DType::F16 || caps.f16)
        && (1..=MAX_HEADS).contains(&shape.heads)
        && shape.d >= 16
        && shape.d.is_multiple_of(4)
        && (2..=16).contains(&shape.window)
        && (choice.held == Held::All || !choice.project)
        && (choice.held != Held::Nothing || whole_windows(shape))
        && choice.wg <= caps.max_invocations
        && workgroup_bytes(shape, choice, elem) <= caps.max_workgroup_bytes
}

/// The way that is expected to be the fastest on such an adapter, or `None` where none fits: then the heads are
/// computed one after the other by other kernels.
pub fn choose(caps: &Caps, elem: DType, shape: &Shape) -> Option<Choice> {
    let (n, d4) = (shape.tokens() as u32, shape.d as u32 / 4);
    // A workgroup's projection is long: alone, it is better spread over the adapter as a product of its own.
    let many = 2 * shape.windows() >= caps.parallel as usize;
    let chunks = if n <= 64 {
        vec![n.next_multiple_of(4)]
    } else {
        vec![64, 32, 16]
    };
    // As many subgroups as a small head's products have columns for.
    let wgs = if shape.d <= 32 {
        [128, 256, 64]
    } else {
        [256, 128, 64]
    };
    let mut ways = Vec::new();
    for project in [true, false] {
        if project && !many {
            continue;
        }
        for (held, stage, pad) in [
            (Held::All, true, 2),
            (Held::All, false, 2),
            (Held::OneHead, true, 2),
            (Held::OneHead, false, 2),
            (Held::OneHead, false, 0),
            (Held::Nothing, false, 0),
        ] {
            let chunks = match held {
                Held::Nothing => &[32, 16, 12, 8],
                _ => &chunks[..],
            };
            for (wg, &chunk) in wgs
                .into_iter()
                .flat_map(|wg| chunks.iter().map(move |c| (wg, c)))
            {
                let rows = |r: &u32| chunk / r * d4 <= wg;
                let av_rows = if many {
                    4
                } else {
                    [1, 2, 4].into_iter().find(rows).unwrap_or(4)
                };
                ways.push(Choice {
                    wg,
                    chunk,
                    av_rows,
                    pad,
                    project,
                    held,
                    stage,
                });
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
    let params = params(shape);
    let mut variant = Variant::new(elem)
        .choose("tile_matmul", "scalar")
        .choose("window_attention", "scalar")
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
        .set("PROJECT", choice.project)
        .set("HELD", choice.held as u32)
        .set("STAGE", choice.stage)
        .set("X_PARTS", shape.parts);
    Dispatch {
        kernel: &SPEC,
        variant,
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(shape.windows() as u64, caps),
        category: Category::Attention,
        cost: cost(shape, elem, choice.project, false),
    }
}

/// What a dispatch over x of `shape` must at least move and compute.
pub(super) fn cost(shape: &Shape, elem: DType, project: bool, tiled: bool) -> Cost {
    let (n, d, c) = (shape.tokens(), shape.d, shape.channels());
    let heads: usize = (shape.kernels.iter().take(shape.heads))
        .map(|k| n * (d * (2 * KEY + d) + KEY * k * k + n * (KEY + d)))
        .sum();
    let map = shape.batch * shape.h * shape.w * c;
    let weights: usize = (packing(shape, project, tiled).iter().map(packed_len)).sum();
    Cost {
        read_bytes: (elem.bytes() * (shape.parts * map + weights)) as u64,
        write_bytes: (elem.bytes() * map) as u64,
        macs: (shape.windows() * (heads + if project { n * c * c } else { 0 })) as u64,
    }
}

/// The shader's params, but for their type: windows, across, down, h, w, part4.
pub(super) fn params(shape: &Shape) -> Params {
    let u = |v: usize| u32::try_from(v).unwrap_or(u32::MAX);
    let [down, across] = shape.grid();
    Params {
        windows: u(shape.windows()),
        across: u(across),
        down: u(down),
        h: u(shape.h),
        w: u(shape.w),
        part4: u(shape.batch * shape.h * shape.w * shape.channels() / 4),
    }
}
