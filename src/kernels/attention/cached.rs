//! What the kernels of attention over a cache share: sizes, who sees what, how keys are cut into chunks, and the plain
//! computation that their references take.

use crate::shader::{Arg, Array, Caps, Case, Real, Variant, noise};
use crate::tensor::DType;

/// Attention of `m` queries of each head over a cache of `elem` [2, kv_heads, capacity, head_dim], in which position k
/// has slot k % capacity. q and o are f32 [m, heads * head_dim].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cached {
    pub m: usize,
    /// A multiple of `kv_heads`: query head h reads head h / (heads / kv_heads) of the cache.
    pub heads: usize,
    pub kv_heads: usize,
    /// A multiple of 4, from 4 to 256.
    pub head_dim: usize,
    pub capacity: usize,
    /// Keys that a query sees, itself among them; 0 for all. Where positions go beyond the capacity, it is at least
    /// 1 and window + m - 1 at most the capacity.
    pub window: usize,
    /// T5's position bias: a table f32 [heads, 2 reach + 1] by clamp(key - query, -reach, reach) + reach.
    pub reach: Option<usize>,
    /// Query i stands at `start` + i and sees no later key; else the state holds the number of keys, and all are seen.
    pub causal: bool,
    /// 1 / sqrt(head_dim); 1 in T5.
    pub scale: f32,
}

impl Cached {
    /// Queries of each head of the cache for one position.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The window as kernels take it: one that no position can leave is none.
    pub(super) fn window_of(&self) -> usize {
        if self.causal && self.window < self.capacity {
            self.window
        } else {
            0
        }
    }

    /// Keys of a chunk: the same for every number of queries and every adapter.
    pub fn chunk(&self) -> usize {
        if self.head_dim > 128 { 32 } else { 64 }
    }

    /// Chunks into which `m` queries can see at once.
    pub fn chunks(&self) -> usize {
        match self.window_of() {
            0 => self.capacity.div_ceil(self.chunk()),
            window => (window + self.m - 2) / self.chunk() + 2,
        }
    }

    /// Elements of `partial` f32 [chunks, m, heads, head_dim] and of `stats` f32 [chunks, m, heads, 2], which go from
    /// `decode` to `combine`.
    pub fn partial(&self) -> [usize; 2] {
        let rows = self.chunks() * self.m * self.heads;
        [rows * self.head_dim, rows * 2]
    }

    /// Multiply-adds where `keys` are seen by each query.
    pub(super) fn macs(&self, keys: usize) -> u64 {
        2 * (self.m * self.heads * self.head_dim) as u64 * keys as u64
    }

    /// The sizes that a case was made with.
    pub(super) fn of_case(variant: &Variant, params: [u32; 4], scale: f32) -> Self {
        let [m, capacity, window, reach] = params.map(|v| v as usize);
        let size = |name| variant.u32(name) as usize;
        Self {
            m,
            heads: size("HEADS"),
            kv_heads: size("KV_HEADS"),
            head_dim: size("D"),
            capacity,
            window,
            reach: variant.bool("BIAS").then_some(reach),
            causal: variant.bool("CAUSAL"),
            scale,
        }
    }

    /// The same on queries that were scaled, then stored as `elem`, as matrix units take them.
    pub(super) fn with_stored_queries<R: Real>(
        self,
        arrays: &[Vec<R>],
        elem: DType,
    ) -> (Self, Vec<Vec<R>>) {
        let scale = R::of(f64::from(self.scale));
        let mut arrays = arrays.to_vec();
        for q in &mut arrays[0] {
            *q = (*q * scale).stored(elem);
        }
        (Self { scale: 1.0, ..self }, arrays)
    }

    /// The keys that query `i` sees.
    pub(super) fn sees(&self, state: usize, i: usize) -> std::ops::Range<usize> {
        if !self.causal {
            return 0..state;
        }
        let end = state + i + 1;
        match self.window {
            0 => 0..end,
            window => end.saturating_sub(window)..end,
        }
    }

    /// For query `i` of head `h` over `keys`, the largest score, Σ exp(s - largest), and Σ exp(s - largest) value.
    pub(super) fn row<R: Real>(
        &self,
        arrays: &[Vec<R>],
        state: usize,
        (i, h): (usize, usize),
        keys: std::ops::Range<usize>,
    ) -> (R, R, Vec<R>) {
        let d = self.head_dim;
        let part = |which: usize, key: usize| {
            let head = which * self.kv_heads + h / self.group();
            &arrays[1][(head * self.capacity + key % self.capacity) * d..][..d]
        };
        let q = &arrays[0][(i * self.heads + h) * d..][..d];
        let score = |key: usize| {
            let dot: R = q.iter().zip(part(0, key)).map(|(&a, &b)| a * b).sum();
            let s = dot * R::of(f64::from(self.scale));
            let Some(reach) = self.reach else { return s };
            let p = if self.causal { state + i } else { i };
            let far = (key as i64 - p as i64).clamp(-(reach as i64), reach as i64);
            s + arrays[3][h * (2 * reach + 1) + (far + reach as i64) as usize]
        };
        let s: Vec<R> = keys.clone().map(score).collect();
        let top = s.iter().fold(R::of(f64::MIN), |a, &b| a.max(b));
        let e: Vec<R> = s.iter().map(|&v| (v - top).exp()).collect();
        let mut o = vec![R::zero(); d];
        for (key, &e) in keys.zip(&e) {
            for (o, &v) in o.iter_mut().zip(part(1, key)) {
                *o += e * v;
            }
        }
        (top, e.iter().copied().sum(), o)
    }

    /// A case's q, cache, state and bias, with slots that no query sees no numbers.
    pub(super) fn inputs(&self, state: usize) -> Vec<Array> {
        let d = self.head_dim;
        let (first, end) = (
            self.sees(state, 0).start,
            self.sees(state, self.m - 1).end.max(1),
        );
        let mut cache = noise(2, 2 * self.kv_heads * self.capacity * d);
        let seen: Vec<usize> = (first..end).map(|k| k % self.capacity).collect();
        for (i, row) in cache.chunks_mut(d).enumerate() {
            if !seen.contains(&(i % self.capacity)) {
                row.fill(f32::NAN);
            }
        }
        let q = noise(1, self.m * self.heads * d);
        let bias = self
            .reach
            .map_or(vec![0.0; 4], |r| noise(3, self.heads * (2 * r + 1)));
        vec![
            Array::F32(q.iter().map(|v| v * 2.0).collect()),
            Array::Elem(cache),
            Array::U32(vec![state as u32]),
            Array::F32(bias),
        ]
    }
}

/// The bindings of a case in their order.
pub(super) fn args<const N: usize>() -> [Arg; N] {
    std::array::from_fn(Arg)
}

/// Cases' sizes and states, for caches of either type.
pub(super) fn examples() -> Vec<(Cached, usize, Caps)> {
    let base = Cached {
        m: 1,
        heads: 4,
        kv_heads: 4,
        head_dim: 16,
        capacity: 300,
        window: 0,
        reach: None,
        causal: true,
        scale: 0.25,
    };
    let few = |max_groups| Caps {
        max_groups,
        max_workgroup_bytes: 32 << 10,
        ..Caps::default()
    };
    let of = |m, heads, kv_heads, head_dim, capacity| Cached {
        m,
        heads,
        kv_heads,
        head_dim,
        capacity,
        scale: 1.0 / (head_dim as f32).sqrt(),
        ..base
    };
    vec![
        (of(1, 4, 4, 16, 300), 0, Caps::default()),
        (of(3, 4, 2, 32, 300), 254, few(3)),
        (of(9, 6, 2, 20, 131), 122, Caps::default()),
        (of(2, 4, 1, 64, 200), 127, few(65_535)),
        (of(5, 2, 1, 80, 150), 60, Caps::default()),
        (of(1, 2, 1, 96, 140), 128, few(65_535)),
        (of(2, 2, 1, 128, 140), 130, few(65_535)),
        (of(3, 1, 1, 256, 70), 66, Caps::default()),
        // A ring of fewer slots than the positions, with a window.
        (
            Cached {
                window: 150,
                ..of(4, 2, 1, 16, 160)
            },
            411,
            Caps::default(),
        ),
        (
            Cached {
                window: 5,
                ..of(9, 2, 2, 12, 40)
            },
            250,
            few(65_535),
        ),
        // T5: a decoder's own keys, and an encoder's output.
        (
            Cached {
                reach: Some(7),
                scale: 1.0,
                ..of(3, 4, 4, 16, 140)
            },
            132,
            Caps::default(),
        ),
        (
            Cached {
                causal: false,
                scale: 1.0,
                ..of(2, 4, 4, 16, 150)
            },
            140,
            Caps::default(),
        ),
        (
            Cached {
                causal: false,
                reach: Some(9),
                scale: 1.0,
                ..of(13, 4, 4, 16, 20)
            },
            13,
            Caps::default(),
        ),
    ]
}

/// What distinguishes a case.
pub(super) fn name(a: &Cached, state: usize) -> String {
    format!(
        "{} queries of {} at {state}, window {}",
        a.m, a.capacity, a.window
    )
}

/// The state in a case's third array.
pub(super) fn state(case: &Case) -> usize {
    case.whole(2)[0] as usize
}
