//! Queries, keys and values of up to 16 tokens in one pass over the weight, which bounds it: RMS norm before,
//! rotary positions after (RoFormer, section 3.2.2), keys and values straight into the cache. The product is that of
//! `matmul/skinny`, whose sums and bounds are its own.

use crate::kernel;
use crate::kernels::matmul::linear::{
    on_matrix_units, packed, row_of, variant, with_lanes, with_matrix_units,
};
use crate::kernels::matmul::{pack, skinny};
use crate::shader::{Arg, Array, Caps, Case, Category, Cost, Dispatch, Real, fold_grid, noise};
use crate::tensor::DType;
use crate::tensor::quant::Format;

kernel! {
    "attention/qkv.wgsl",
    params {
        m: u32, n: u32, k: u32, first: u32,
        heads: u32, kv_heads: u32, capacity: u32,
        scale: f32, eps: f32,
    },
    binds { x: Read, w: Read, scales: Read, aux: Read, rotary: Read, start: Read, q: Write, cache: Write },
}

/// The projection of up to 16 tokens to queries, keys and values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Qkv {
    /// Rows, at most 16 and at most `capacity`.
    pub m: usize,
    /// Output features of this weight: all (heads + 2 · kv_heads) · dim of them, or the part from `first` on.
    pub n: usize,
    /// Depth, a multiple of 4.
    pub k: usize,
    /// Where this weight's features stand among all, a multiple of 16.
    pub first: usize,
    pub format: Format,
    /// The epsilon of an RMS norm of x before the product.
    pub norm: Option<f32>,
    pub bias: bool,
    /// Whether queries and keys are turned by their position. The features of a head then are in the order 0,
    /// dim / 2, 1, dim / 2 + 1, …: those that turn together are neighbours.
    pub rotary: bool,
    pub heads: usize,
    pub kv_heads: usize,
    /// Features of a head, even.
    pub dim: usize,
    /// Positions that the cache holds: position p is in slot p % capacity.
    pub capacity: usize,
}

/// What it is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// f32 [m, K].
    pub x: Arg,
    /// Packed [n, K].
    pub w: Arg,
    /// Packed, for formats that have them.
    pub scales: Option<Arg>,
    /// f32: the gain [K] where there is a norm, then the bias of all features where there is one, then zeros up to a
    /// multiple of 4.
    pub aux: Option<Arg>,
    /// f32 [positions, dim / 2, 2]: cosines and sines.
    pub rotary: Option<Arg>,
    /// u32 [1]: the position of row 0.
    pub start: Arg,
    /// f32 [m, heads, dim].
    pub q: Arg,
    /// `cache` elem [2, kv_heads, capacity, dim].
    pub cache: Arg,
}

/// One dispatch. `cache` is the cache's element type. A product on matrix units needs f16 there: with f32 it is
/// computed without them.
pub fn dispatch(p: &Qkv, cache: DType, at: Operands, caps: &Caps) -> Dispatch {
    let mut caps = caps.clone();
    if cache != DType::F16 {
        caps.coop = None;
    }
    let mut v = variant(p.format, on_matrix_units(p.format, &caps))
        .set("NORM", p.norm.is_some())
        .set("BIAS", p.bias)
        .set("ROTARY", p.rotary)
        .set("D", p.dim);
    v.elem = cache;
    let (variant, groups) = skinny::variant(v, p.m, p.format, [p.n, p.k], &caps);
    let params = Params {
        m: p.m as u32,
        n: p.n as u32,
        k: p.k as u32,
        first: p.first as u32,
        heads: p.heads as u32,
        kv_heads: p.kv_heads as u32,
        capacity: p.capacity as u32,
        scale: 1.0,
        eps: p.norm.unwrap_or_default(),
    };
    let binds = Binds {
        x: at.x,
        w: at.w,
        scales: at.scales.unwrap_or(at.w),
        aux: at.aux.unwrap_or(at.x),
        rotary: at.rotary.unwrap_or(at.x),
        start: at.start,
        q: at.q,
        cache: at.cache,
    };
    let (m, n, k) = (p.m as u64, p.n as u64, p.k as u64);
    let queries = (m * (p.heads * p.dim) as u64).min(m * n);
    Dispatch {
        kernel: &SPEC,
        variant,
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(groups, &caps),
        category: Category::Matmul,
        cost: Cost {
            read_bytes: pack::bytes(p.format, [p.n, p.k]) + 4 * (m * k + k + n + m * p.dim as u64),
            write_bytes: 4 * queries + cache.bytes() as u64 * (m * n - queries),
            macs: m * n * k,
        },
    }
}

fn cases() -> Vec<Case> {
    let one = Qkv {
        m: 1,
        n: 32,
        k: 64,
        first: 0,
        format: Format::F32,
        norm: Some(1e-5),
        bias: false,
        rotary: true,
        heads: 2,
        kv_heads: 1,
        dim: 8,
        capacity: 5,
    };
    let shapes = [
        one,
        // Around the cache's end; grouped heads; a bias; nothing but a product; a part of the features.
        Qkv {
            m: 4,
            n: 112,
            k: 100,
            bias: true,
            heads: 3,
            kv_heads: 2,
            dim: 16,
            ..one
        },
        Qkv {
            m: 9,
            n: 54,
            k: 72,
            norm: None,
            rotary: false,
            heads: 3,
            kv_heads: 3,
            dim: 6,
            capacity: 11,
            ..one
        },
        Qkv {
            m: 2,
            n: 24,
            k: 132,
            first: 16,
            bias: true,
            heads: 1,
            kv_heads: 1,
            dim: 16,
            ..one
        },
    ];
    let few = Caps {
        max_groups: 2,
        ..Caps::default()
    };
    let coop = with_matrix_units(&few);
    let mut cases = Vec::new();
    for (i, shape) in shapes.into_iter().enumerate() {
        let format = [Format::F16, Format::F32, Format::Q8_0, Format::Q4_0][i];
        cases.push(case(&Qkv { format, ..shape }, DType::F32, &few));
        let format = [Format::Q4_0, Format::F16, Format::Q8_0, Format::F16][i];
        cases.push(case(&Qkv { format, ..shape }, DType::F16, &few));
        let caps = with_lanes(&few, [8, 4][i % 2]);
        cases.push(case(&Qkv { format, ..shape }, DType::F32, &caps));
        let caps = Caps {
            parallel: [16, 1, 2, 0][i],
            ..coop.clone()
        };
        cases.push(case(&Qkv { format, ..shape }, DType::F16, &caps));
    }
    cases
}

fn case(p: &Qkv, cache: DType, caps: &Caps) -> Case {
    let at = Operands {
        x: Arg(0),
        w: Arg(1),
        scales: Some(Arg(2)),
        aux: Some(Arg(3)),
        rotary: Some(Arg(4)),
        start: Arg(5),
        q: Arg(6),
        cache: Arg(7),
    };
    let start = 3;
    let aux = p.norm.map_or(0, |_| p.k) + if p.bias { p.first + p.n } else { 0 };
    let [w, scales] = packed(p.format, [p.n, p.k]);
    Case {
        name: format!("{}x{}x{} {}", p.m, p.n, p.k, p.format),
        dispatch: dispatch(p, cache, at, caps),
        arrays: vec![
            Array::F32(noise(1, p.m * p.k)),
            w,
            scales,
            Array::F32(noise(3, aux.next_multiple_of(4).max(4))),
            Array::F32(noise(4, (start + p.m) * p.dim)),
            Array::U32(vec![start as u32]),
            Array::OutAs(DType::F32, p.m * p.heads * p.dim),
            Array::Out(2 * p.kv_heads * p.capacity * p.dim),
        ],
    }
}

fn reference<R: Real>(case: &Case, a: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let u = |v: u32| v as usize;
    let v = case.variant();
    let dim = u(v.u32("D"));
    let (heads, kv_heads, k) = (u(p.heads), u(p.kv_heads), u(p.k));
    let mut q = vec![R::of(f64::NAN); u(p.m) * heads * dim];
    let mut cache = vec![R::of(f64::NAN); 2 * kv_heads * u(p.capacity) * dim];
    for m in 0..u(p.m) {
        let gain = v.bool("NORM").then(|| (&a[3][..k], p.eps));
        let mut sums = row_of(case, &a[0][m * k..][..k], gain, p.scale, u(p.n));
        if v.bool("BIAS") {
            let bias = &a[3][if v.bool("NORM") { k } else { 0 } + u(p.first)..];
            sums.iter_mut().zip(bias).for_each(|(s, &b)| *s += b);
        }
        let position = u(case.whole(5)[0]) + m;
        for (n, &sum) in sums.iter().enumerate() {
            let (head, i) = ((u(p.first) + n) / dim, (u(p.first) + n) % dim);
            let mut value = sum;
            if v.bool("ROTARY") && head < heads + kv_heads {
                let at = (position * (dim / 2) + i / 2) * 2;
                let (cos, sin) = (a[4][at], a[4][at + 1]);
                value = if i % 2 == 0 {
                    sum * cos - sums[n + 1] * sin
                } else {
                    sums[n - 1] * sin + sum * cos
                };
            }
            if head < heads {
                q[(m * heads + head) * dim + i] = value;
            } else {
                let slot = (head - heads) * u(p.capacity) + position % u(p.capacity);
                cache[slot * dim + i] = value.stored(case.elem());
            }
        }
    }
    vec![q, cache]
}
