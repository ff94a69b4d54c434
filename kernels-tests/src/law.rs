//! Speculative decoding of many sequences at once by the real kernels, over toy models: tables of logits by the last two
//! tokens.

use crate::harness;
use cascadia::device::{Device, Executable, Store};
use cascadia::kernels::sample::{SETTINGS, Settings, accept, draw, transform};
use cascadia::plan::{Buffer, Plan, Role, Step};
use cascadia::shader::{
    Access, Arg, Bind, Category, Cost, Dispatch, KernelSpec, Param, Variant, fold_grid, noise,
};
use cascadia::tensor::DType;
use std::sync::Arc;

/// Rows of a table by the last two tokens.
static GATHER: KernelSpec = KernelSpec {
    path: "gather.wgsl",
    source: include_str!("../shaders/gather.wgsl"),
    params: &[
        param("batch", 0),
        param("rows", 4),
        param("ahead", 8),
        param("stride", 12),
    ],
    binds: &[
        bind("table", Access::Read),
        bind("history", Access::Read),
        bind("start", Access::Read),
        bind("base", Access::Read),
        bind("p", Access::Write),
    ],
};

pub const fn param(name: &'static str, offset: u32) -> Param {
    Param {
        name,
        ty: "u32",
        offset,
    }
}

pub const fn bind(name: &'static str, access: Access) -> Bind {
    Bind { name, access }
}

/// Tokens of the prompt, and tokens that are looked at.
pub const PROMPT: [u32; 2] = [1, 2];
pub const LOOKED_AT: usize = 3;

/// A model: logits [V, V, V] of the next token by the last two.
#[derive(Clone)]
pub struct Table {
    pub vocab: usize,
    pub logits: Vec<f32>,
}

impl Table {
    pub fn random(seed: u32, vocab: usize) -> Self {
        let logits = noise(seed, vocab * vocab * vocab);
        Self { vocab, logits }
    }

    pub fn map(&self, f: impl Fn(usize, f32) -> f32) -> Self {
        let logits = self.logits.iter().enumerate();
        Self {
            vocab: self.vocab,
            logits: logits.map(|(i, &v)| f(i % self.vocab, v)).collect(),
        }
    }

    /// The likeliest token far above all others.
    pub fn one_hot(&self) -> Self {
        let mut sharp = self.clone();
        for row in sharp.logits.chunks_mut(self.vocab) {
            let most = row.iter().copied().fold(f32::MIN, f32::max);
            row.iter_mut()
                .for_each(|v| *v = if *v == most { 0.0 } else { f32::NEG_INFINITY });
        }
        sharp
    }

    /// A row's probabilities in f64, by the plainest code: [V] after tokens x and y.
    pub fn probabilities(&self, s: &Settings, x: usize, y: usize) -> Vec<f64> {
        let row = &self.logits[(x * self.vocab + y) * self.vocab..][..self.vocab];
        let most = row.iter().copied().fold(f32::MIN, f32::max);
        let weight = |v: f32| (f64::from(v - most) / f64::from(s.temperature)).exp();
        let mut kept: Vec<(usize, f64)> = row.iter().map(|&v| weight(v)).enumerate().collect();
        kept.sort_by(|a, b| b.1.total_cmp(&a.1));
        if s.top_k > 0 {
            kept.truncate(s.top_k as usize);
        }
        let total: f64 = kept.iter().map(|k| k.1).sum();
        let mut mass = 0.0;
        kept.retain(|k| {
            let before = mass;
            mass += k.1 / total;
            before < f64::from(s.top_p)
        });
        kept.retain(|k| k.1 >= f64::from(s.min_p));
        let total: f64 = kept.iter().map(|k| k.1).sum();
        let mut p = vec![0.0; self.vocab];
        for (c, w) in kept {
            p[c] = w / total;
        }
        p
    }

    /// The probability of every continuation of [`LOOKED_AT`] tokens: [V, V, V].
    pub fn law(&self, s: &Settings) -> Vec<f64> {
        let v = self.vocab;
        let mut law = vec![0.0; v * v * v];
        let first = self.probabilities(s, PROMPT[0] as usize, PROMPT[1] as usize);
        for a in 0..v {
            let second = self.probabilities(s, PROMPT[1] as usize, a);
            for b in 0..v {
                let third = self.probabilities(s, a, b);
                for c in 0..v {
                    law[(a * v + b) * v + c] = first[a] * second[b] * third[c];
                }
            }
        }
        law
    }
}

/// What is decoded how.
#[derive(Clone)]
pub struct Run {
    pub target: Table,
    pub draft: Table,
    pub settings: Settings,
    pub draft_len: usize,
    /// Verified as proposals without distributions.
    pub one_hot: bool,
    pub rounds: usize,
    pub batch: usize,
    pub batches: usize,
    /// Pieces of accept.wgsl replaced by others, with a name.
    pub mutation: Option<(&'static str, Vec<(&'static str, &'static str)>)>,
    /// Before each verification the distributions of the draft are replaced by those of this model under these settings.
    pub q_replaced: Option<(Table, Settings)>,
}

/// What a batch left behind.
pub struct Left {
    /// [batch, stride]
    pub history: Vec<u32>,
    pub stride: usize,
    /// [batch, words]
    pub outcome: Vec<u32>,
    pub words: usize,
}

struct Builder {
    plan: Plan,
    device: Device,
}

impl Builder {
    fn new(device: &Device) -> Self {
        Self {
            plan: Plan {
                dtype: DType::F32,
                steps: Vec::new(),
                buffers: Vec::new(),
                slots: Vec::new(),
                inputs: Vec::new(),
                outputs: Vec::new(),
            },
            device: device.clone(),
        }
    }

    fn state(&mut self, name: &str, dtype: DType, len: usize) -> Arg {
        self.plan.buffers.push(Buffer {
            role: Role::State(name.into()),
            dtype,
            len,
        });
        Arg(self.plan.buffers.len() - 1)
    }

    fn push(&mut self, dispatch: Dispatch) {
        self.plan.steps.push(Step {
            dispatch,
            op: "law",
            scope: String::new(),
        });
    }

    /// `sizes`: batch, rows, ahead, stride. `args`: table, history, start, base, p.
    fn gather(&mut self, vocab: usize, slots: usize, sizes: [usize; 4], args: [Arg; 5]) {
        let groups = (sizes[0] * sizes[1]).div_ceil(64);
        let dispatch = Dispatch {
            kernel: &GATHER,
            variant: Variant::new(DType::F32).set("V", vocab).set("SLOTS", slots),
            params: (sizes.iter().flat_map(|&s| (s as u32).to_le_bytes())).collect(),
            args: args.to_vec(),
            grid: fold_grid(groups as u64, self.device.caps()),
            category: Category::Sample,
            cost: Cost::default(),
        };
        self.push(dispatch);
    }

    fn load(self, store: &Store) -> Executable {
        Executable::load_in(store, Arc::new(self.plan), &|_| unreachable!("no weights"))
            .unwrap_or_else(|e| panic!("{e}"))
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// The transform kernel's probabilities of every context, in state `name`.
fn table(device: &Device, store: &Store, name: &str, model: &Table, s: &Settings, draft: bool) {
    let v = model.vocab;
    let n = v * v;
    let mut b = Builder::new(device);
    let shape = transform::Shape {
        batch: n,
        rows: 1,
        vocab: v,
        slots: 1,
        ahead: 1,
        stride: 1,
        draft,
    };
    let own = |what: &str| format!("{name}.{what}");
    let start = b.state(&own("start"), DType::U32, n);
    let binds = transform::Binds {
        logits: b.state(&own("logits"), DType::F32, n * v),
        history: b.state(&own("history"), DType::U32, n),
        start,
        base: start,
        settings: b.state(&own("settings"), DType::U32, n * SETTINGS),
        fault: b.state(&own("fault"), DType::U32, n),
        p: b.state(name, DType::F32, n * v),
    };
    let caps = device.caps();
    b.push(transform::dispatch(shape, binds, caps));
    let exe = b.load(store);
    let words: Vec<u32> = (0..n).flat_map(|_| s.words()).collect();
    let write = |what: &str, values: &[u32]| {
        store
            .write(&own(what), 0, values)
            .unwrap_or_else(|e| panic!("{e}"));
    };
    write("logits", &bits(&model.logits));
    write("settings", &words);
    exe.submit(false).unwrap_or_else(|e| panic!("{e}"));
}

/// The kernel `spec` with pieces of its text replaced, under another name.
pub fn mutated(
    spec: &'static KernelSpec,
    name: &str,
    pieces: &[(&'static str, &'static str)],
) -> &'static KernelSpec {
    let mut source = spec.source.to_string();
    for (old, new) in pieces {
        assert!(source.contains(old), "{name}: no `{old}` in {}", spec.path);
        source = source.replace(old, new);
    }
    Box::leak(Box::new(KernelSpec {
        path: Box::leak(format!("mutated/{name}.wgsl").into_boxed_str()),
        source: Box::leak(source.into_boxed_str()),
        params: spec.params,
        binds: spec.binds,
    }))
}

impl Run {
    pub fn new(target: &Table, draft: &Table, draft_len: usize) -> Self {
        Self {
            target: target.clone(),
            draft: draft.clone(),
            settings: Settings::default(),
            draft_len,
            one_hot: false,
            rounds: LOOKED_AT,
            batch: 50_000,
            batches: 4,
            mutation: None,
            q_replaced: None,
        }
    }

    /// Decodes every batch and hands what each left to `look`.
    pub fn each(&self, device: &Device, mut look: impl FnMut(&Left)) {
        let (v, k, batch) = (self.target.vocab, self.draft_len, self.batch);
        let slots = k.max(1);
        let stride = PROMPT.len() + self.rounds * (k + 1) + k + 1;
        let words = accept::outcome_len(slots);
        let store = Store::new(device);
        let caps = device.caps();
        table(
            device,
            &store,
            "p_table",
            &self.target,
            &self.settings,
            false,
        );
        table(device, &store, "q_table", &self.draft, &self.settings, true);
        if let Some((model, settings)) = &self.q_replaced {
            table(device, &store, "other_table", model, settings, true);
        }
        let mut b = Builder::new(device);
        let history = b.state("history", DType::U32, batch * stride);
        let target = b.state("target", DType::U32, batch);
        let draft = b.state("draft", DType::U32, batch);
        let settings = b.state("settings", DType::U32, batch * SETTINGS);
        let fault = b.state("fault", DType::U32, batch);
        let outcome = b.state("outcome", DType::U32, batch * words);
        let p = b.state("p", DType::F32, batch * (k + 1) * v);
        let q = b.state("q", DType::F32, batch * slots * v);
        let p_table = b.state("p_table", DType::F32, v * v * v);
        let q_table = b.state("q_table", DType::F32, v * v * v);
        let rows = |rows: usize, ahead: usize| [batch, rows, ahead, stride];
        for step in 0..k {
            let ahead = if step == 0 { 2 } else { 1 };
            b.gather(
                v,
                slots,
                rows(1, ahead),
                [q_table, history, draft, target, q],
            );
            let shape = draw::Shape {
                batch,
                vocab: v,
                slots,
                stride,
                ahead,
            };
            let binds = draw::Binds {
                q,
                settings,
                base: target,
                history,
                start: draft,
            };
            b.push(draw::dispatch(shape, binds, caps));
        }
        if self.q_replaced.is_some() {
            let other = b.state("other_table", DType::F32, v * v * v);
            b.gather(v, slots, rows(k, 1), [other, history, target, target, q]);
        }
        b.gather(
            v,
            k + 1,
            rows(k + 1, 1),
            [p_table, history, target, target, p],
        );
        let shape = accept::Shape {
            batch,
            vocab: v,
            slots,
            draft_len: k,
            stride,
            one_hot: self.one_hot,
        };
        let binds = accept::Binds {
            p,
            q: if self.one_hot || k == 0 { p } else { q },
            settings,
            history,
            start: target,
            draft_start: draft,
            fault,
            outcome,
        };
        let mut dispatch = accept::dispatch(shape, binds, caps);
        if let Some((name, pieces)) = &self.mutation {
            dispatch.kernel = mutated(dispatch.kernel, name, pieces);
        }
        b.push(dispatch);
        let exe = b.load(&store);
        let write = |name: &str, values: &[u32]| {
            store
                .write(name, 0, values)
                .unwrap_or_else(|e| panic!("{e}"));
        };
        let read = |name: &str| store.read(name).unwrap_or_else(|e| panic!("{e}")).to_u32();
        let mut prompts = vec![0; batch * stride];
        prompts
            .chunks_mut(stride)
            .for_each(|h| h[..2].copy_from_slice(&PROMPT));
        for turn in 0..self.batches {
            let seeds = (0..batch).flat_map(|i| {
                let seed = self.settings.seed ^ ((turn * batch + i) as u64) << 8;
                Settings {
                    seed,
                    ..self.settings
                }
                .words()
            });
            write("settings", &seeds.collect::<Vec<_>>());
            write("history", &prompts);
            write("target", &vec![1; batch]);
            write("draft", &vec![0; batch]);
            for _ in 0..self.rounds {
                exe.submit(false).unwrap_or_else(|e| panic!("{e}"));
            }
            look(&Left {
                history: read("history"),
                stride,
                outcome: read("outcome"),
                words,
            });
        }
    }

    /// How often each continuation of [`LOOKED_AT`] tokens came: [V, V, V].
    pub fn counts(&self, device: &Device) -> Vec<u64> {
        let v = self.target.vocab;
        let mut counts = vec![0; v * v * v];
        self.each(device, |left| {
            for h in left.history.chunks(left.stride) {
                let at = (h[2] as usize * v + h[3] as usize) * v + h[4] as usize;
                counts[at] += 1;
            }
        });
        counts
    }
}

/// χ² of `counts` against `law`, bins of fewer than 5 expected pooled, as a standard normal (Wilson and Hilferty): how
/// many deviations above what such a law gives. Infinite where something came that cannot.
pub fn deviation(counts: &[u64], law: &[f64]) -> f64 {
    let n: u64 = counts.iter().sum();
    let (mut pool, mut bins, mut chi) = ((0.0, 0.0), 0usize, 0.0);
    let mut add = |expected: f64, found: f64| {
        chi += (found - expected) * (found - expected) / expected;
        bins += 1;
    };
    for (&found, &p) in counts.iter().zip(law) {
        if p == 0.0 && found > 0 {
            return f64::INFINITY;
        }
        let expected = p * n as f64;
        if expected >= 5.0 {
            add(expected, found as f64);
        } else {
            pool = (pool.0 + expected, pool.1 + found as f64);
            if pool.0 >= 5.0 {
                add(pool.0, pool.1);
                pool = (0.0, 0.0);
            }
        }
    }
    if pool.0 > 0.5 {
        add(pool.0, pool.1);
    }
    let df = (bins.max(2) - 1) as f64;
    let spread = 2.0 / (9.0 * df);
    ((chi / df).cbrt() - (1.0 - spread)) / spread.sqrt()
}

/// The adapters that the law is tested on, and how many batches of how many sequences on each.
pub fn devices() -> Vec<(Device, usize, usize)> {
    let by_size = |name: String| {
        let device = harness::open(&name, false);
        // One is some ten times slower than the other and there to try another compiler.
        let slow = name.to_lowercase().contains("swiftshader");
        (
            device,
            if slow { 10_000 } else { 50_000 },
            if slow { 1 } else { 4 },
        )
    };
    harness::adapters().into_iter().map(by_size).collect()
}
