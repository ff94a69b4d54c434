//! Speculative decoding of many sequences at once by the real kernels, over toy models: tables of logits by the last two
//! tokens.

use crate::harness;
use cascadia::device::{Device, Store};
use cascadia::kernels::sample::{SETTINGS, Settings, accept, draw, transform};
use cascadia::shader::{Arg, KernelSpec};
use cascadia::tensor::DType;

mod build;
mod table;

use build::Builder;
pub use build::{bind, param};
pub use table::{LOOKED_AT, PROMPT, Table, deviation};

/// What is decoded how.
#[derive(Clone)]
pub struct Run {
    pub target: Table,
    pub draft: Table,
    pub settings: Settings,
    pub draft_len: usize,
    /// Verified as proposals without distributions.
    pub one_hot: bool,
    /// Every row is transformed where it is needed, as a decoder does; else the rows of all contexts once.
    pub in_place: bool,
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

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// The transform kernel's probabilities of every context, in state `name`.
fn table(device: &Device, store: &Store, name: &str, model: &Table, s: &Settings) {
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
        draft: false,
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
            in_place: false,
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
        table(device, &store, "p_table", &self.target, &self.settings);
        table(device, &store, "q_table", &self.draft, &self.settings);
        if let Some((model, settings)) = &self.q_replaced {
            table(device, &store, "other_table", model, settings);
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
        let rows = |rows: usize, ahead: usize| [batch, rows, ahead, stride];
        let (of_p, of_q) = if self.in_place {
            ("p_table.logits", "q_table.logits")
        } else {
            ("p_table", "q_table")
        };
        let p_table = b.state(of_p, DType::F32, v * v * v);
        let q_table = b.state(of_q, DType::F32, v * v * v);
        let transforms =
            |b: &mut Builder, n: usize, ahead: usize, from: Arg, start: Arg, to: Arg| {
                let shape = transform::Shape {
                    batch,
                    rows: n,
                    vocab: v,
                    slots: if to == p { k + 1 } else { slots },
                    ahead,
                    stride,
                    draft: to == q,
                };
                let binds = transform::Binds {
                    logits: from,
                    history,
                    start,
                    base: target,
                    settings,
                    fault,
                    p: to,
                };
                b.push(transform::dispatch(shape, binds, caps));
            };
        for step in 0..k {
            let ahead = if step == 0 { 2 } else { 1 };
            if self.in_place {
                let logits = b.state("draft_logits", DType::F32, batch * v);
                b.gather(
                    v,
                    1,
                    rows(1, ahead),
                    [q_table, history, draft, target, logits],
                );
                transforms(&mut b, 1, ahead, logits, draft, q);
            } else {
                b.gather(
                    v,
                    slots,
                    rows(1, ahead),
                    [q_table, history, draft, target, q],
                );
            }
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
        let to = if self.in_place {
            b.state("target_logits", DType::F32, batch * (k + 1) * v)
        } else {
            p
        };
        b.gather(
            v,
            k + 1,
            rows(k + 1, 1),
            [p_table, history, target, target, to],
        );
        if self.in_place {
            transforms(&mut b, k + 1, 1, to, target, p);
        }
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
