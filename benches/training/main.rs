//! Training of the draft of real size, LLaMA-160M with noise for weights: a step, an update of eight requests, and the
//! products that both are made of. CASCADIA_ADAPTER names an adapter; CASCADIA_PARTS some of `products`, `step`, `update`
//! (all otherwise); CASCADIA_TARGET the size of what an update learns from (`7b` otherwise); CASCADIA_DISPATCHES=1 adds
//! the time of each kernel of a step. CASCADIA_CONFIG is another config.json to make steps of, CASCADIA_BATCH the
//! sequences and tokens of one (`8x256` otherwise).

mod update;

use cascadia::Result;
use cascadia::device::{self, Device, Executable};
use cascadia::engine::distill::{Batch, Loss, Settings, Trainer};
use cascadia::engine::language::{Draft, DraftLen, Language, Request, Room, Sampling, Session};
use cascadia::kernels::matmul::dense::{self, Product};
use cascadia::kernels::matmul::dense_coop::{self, Tile};
use cascadia::models::language::Config;
use cascadia::plan::{Options, Plan};
use cascadia::shader::{Arg, Array, Case, Dispatch, noise};
use cascadia::tensor::{DType, Tensor};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const HIDDEN: usize = 768;
const FF: usize = 3072;
const VOCAB: usize = 32_000;

/// Published sizes: LLaMA-160M, TinyLlama-1.1B, LLaMA-7B.
fn sized(name: &str) -> Result<Config> {
    let [hidden, ff, layers, heads, kv] = match name {
        "160m" => [HIDDEN, FF, 12, 12, 12],
        "1b" => [2048, 5632, 22, 32, 4],
        _ => [4096, 11008, 32, 32, 32],
    };
    Config::parse(
        Path::new(name),
        &serde_json::json!({
            "architectures": ["LlamaForCausalLM"], "vocab_size": VOCAB, "hidden_size": hidden,
            "intermediate_size": ff, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv, "max_position_embeddings": 4096, "hidden_act": "silu",
            "rms_norm_eps": 1e-6, "tie_word_embeddings": false, "eos_token_id": 2, "bos_token_id": 1,
        }),
    )
}

fn config() -> Result<Config> {
    let Ok(path) = std::env::var("CASCADIA_CONFIG") else {
        return sized("160m");
    };
    let text = std::fs::read(&path).map_err(cascadia::Error::io(Path::new(&path)))?;
    let value = serde_json::from_slice(&text)
        .map_err(|e| cascadia::Error::Usage(format!("{path}: {e}")))?;
    Config::parse(Path::new(&path), &value)
}

/// Sequences of a step, and their tokens.
fn sizes() -> [usize; 2] {
    let said = std::env::var("CASCADIA_BATCH").ok();
    let parsed = said.as_ref().and_then(|s| {
        let (n, len) = s.split_once('x')?;
        Some([n.parse().ok()?, len.parse().ok()?])
    });
    parsed.unwrap_or([8, 256])
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// GPU milliseconds of a dispatch of a product, on a device that has been at it for a while.
fn time(device: &Device, arrays: &[Array], dispatch: Dispatch) -> Result<f64> {
    let case = Case {
        name: String::new(),
        dispatch,
        arrays: arrays.to_vec(),
    };
    let exe = Executable::load(device, Arc::new(Plan::of_case(&case)), &|_| Ok(Vec::new()))?;
    let inputs: Vec<Tensor> = (case.arrays.iter()).filter_map(Array::contents).collect();
    exe.upload(&inputs)?;
    let begun = Instant::now();
    while begun.elapsed().as_millis() < 60 {
        for _ in 0..50 {
            exe.submit(false)?;
        }
        exe.wait()?;
    }
    Ok(median(exe.time(15)?))
}

/// The products of a step of 2048 rows, in every tile.
fn products(device: &Device) -> Result<()> {
    let binds = |a, b, y| dense_coop::Binds { a, b, y };
    let tiles = [
        (128, 128, 64, [4, 2]),
        (128, 128, 32, [2, 2]),
        (128, 64, 32, [4, 1]),
        (64, 64, 32, [2, 2]),
    ];
    for weight in [
        [2304, HIDDEN],
        [HIDDEN, HIDDEN],
        [2 * FF, HIDDEN],
        [HIDDEN, FF],
        [8192, HIDDEN],
    ] {
        for (what, p) in [
            ("y", Product::forward(2048, weight)),
            ("dx", Product::backward_x(2048, weight)),
            ("dw", Product::backward_w(2048, weight)),
        ] {
            let arrays = [
                Array::F32(noise(1, p.m * p.k)),
                Array::F32(noise(2, p.k * p.n)),
                Array::OutAs(DType::F32, p.m * p.n),
            ];
            let flops = 2.0 * (p.m * p.n * p.k) as f64;
            let rate = |ms: f64| flops / ms * 1e-9;
            let [a, b, y] = [0, 1, 2].map(Arg);
            let one = dense::Tile {
                slices: 1,
                ..dense::choose(&p, device.caps())
            };
            let (all, binds_of) = (0..one.groups(&p), dense::Binds { a, b, y });
            let scalar = dense::dispatch(p, one, all, binds_of, device.caps());
            let ms = time(device, &arrays, scalar)?;
            println!(
                "  {what:2} {weight:?} f32: {ms:.4} ms, {:.1} TFLOP/s",
                rate(ms)
            );
            let chosen = dense_coop::choose(&p, device.caps());
            for (rows, columns, depth, teams) in tiles {
                let tile = Tile {
                    rows,
                    columns,
                    depth,
                    teams,
                    slices: 1,
                };
                if chosen.is_none() || tile.bytes(&p) > device.caps().max_workgroup_bytes as usize {
                    continue;
                }
                let all = 0..tile.groups(&p);
                let d = dense_coop::dispatch(p, tile, all, binds(a, b, y), device.caps());
                let ms = time(device, &arrays, d)?;
                let mark = if Some(tile) == chosen {
                    " (chosen)"
                } else {
                    ""
                };
                println!(
                    "     {rows}x{columns}x{depth} {teams:?}: {ms:.4} ms, {:.1} TFLOP/s{mark}",
                    rate(ms)
                );
            }
        }
    }
    Ok(())
}

/// `sequences` of `len` tokens, of which every row is taught.
fn batch([sequences, len]: [usize; 2], vocab: usize, hard: bool) -> Batch {
    let all = sequences * len;
    let rows: Vec<u32> = (0..all as u32).collect();
    let count = rows.len();
    let token = |i: usize| (3 + i * 7919 % (vocab - 3)) as u32;
    // A few likely tokens and a flat rest.
    let row = |i: usize| {
        let mut p = vec![0.1 / vocab as f32; vocab];
        for (j, share) in [0.5, 0.25, 0.15].into_iter().enumerate() {
            p[token(i * 3 + j) as usize] += share;
        }
        p
    };
    Batch {
        len,
        tokens: (0..all).map(token).collect(),
        rows,
        probs: match hard {
            true => Vec::new(),
            false => (0..count).flat_map(row).collect(),
        },
        labels: hard.then(|| (0..count).map(|i| token(i + 1)).collect()),
        ..Batch::default()
    }
}

fn step(model: &Arc<Language>, loss: Loss, halves: bool) -> Result<()> {
    let settings = Settings {
        loss,
        halves,
        ..Settings::default()
    };
    let begun = Instant::now();
    let mut trainer = Trainer::new(model, settings)?;
    let [sequences, len] = sizes();
    let vocab = model.config().vocab();
    let batch = batch([sequences, len], vocab, loss == Loss::CrossEntropy);
    trainer.step(std::slice::from_ref(&batch))?;
    println!(
        "  {loss:?} in {}, {sequences} x {len}, all rows taught: ready after {:.1} s",
        if halves { "halves" } else { "f32" },
        begun.elapsed().as_secs_f64()
    );
    trainer.step_ms(&batch, 3)?;
    let ms = trainer.step_ms(&batch, 15)?;
    let least = ms.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "    on the device: median {:.3} ms, least {least:.3}",
        median(ms)
    );
    let mut walls = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let step = trainer.step(std::slice::from_ref(&batch))?;
        walls.push(begun.elapsed().as_secs_f64() * 1e3);
        println!("    {step:?}");
    }
    println!("    host to host: median {:.3} ms", median(walls));
    // What serving it reads, written anew.
    let mut session = Session::new(model, Draft::None, Room::of(256))?;
    generate(&mut session, &[1, 5, 9], 8, DraftLen::Off)?;
    if let Some(states) = trainer.states()
        && let Some(renewal) = model.renewal(states, None)?
    {
        renewal.time(3)?;
        println!(
            "    weights packed for serving: {:.3} ms",
            median(renewal.time(9)?)
        );
    }
    if std::env::var("CASCADIA_DISPATCHES").is_ok() {
        trainer.step_dispatches(&batch)?;
        by_kernel(&trainer.step_dispatches(&batch)?);
    }
    Ok(())
}

fn request(new: usize, draft_len: DraftLen) -> Request {
    Request {
        max_new: new,
        sampling: Sampling::greedy(),
        draft_len,
        stop: Vec::new(),
        check: false,
    }
}

fn generate(session: &mut Session, prompt: &[u32], new: usize, draft_len: DraftLen) -> Result<()> {
    let mut generation = session.generate(prompt, &request(new, draft_len))?;
    while generation.next()?.is_some() {}
    Ok(())
}

fn by_kernel(all: &[(String, f64, u64, u64)]) {
    let mut sums: Vec<(&str, usize, f64, u64, u64)> = Vec::new();
    for (label, ms, bytes, macs) in all {
        match sums.iter_mut().find(|s| s.0 == label) {
            Some(s) => (s.1, s.2, s.3, s.4) = (s.1 + 1, s.2 + ms, s.3 + bytes, s.4 + macs),
            None => sums.push((label, 1, *ms, *bytes, *macs)),
        }
    }
    sums.sort_by(|a, b| b.2.total_cmp(&a.2));
    let total: f64 = sums.iter().map(|s| s.2).sum();
    println!(
        "    {} dispatches, {total:.3} ms with timestamps between them",
        all.len()
    );
    for (label, count, ms, bytes, macs) in sums {
        println!(
            "    {ms:8.3} ms x {count:3}  {:6.0} GB/s {:6.1} TFLOP/s  {label}",
            bytes as f64 / ms * 1e-6,
            2.0 * macs as f64 / ms * 1e-9
        );
    }
}

fn main() -> Result<()> {
    let device = Device::open(&device::Options {
        adapter: std::env::var("CASCADIA_ADAPTER").ok(),
        ..device::Options::default()
    })?;
    println!("{}", device.name());
    let parts = std::env::var("CASCADIA_PARTS").unwrap_or("products,step,update".into());
    let options = Options::new(match device.caps().f16 {
        true => DType::F16,
        false => DType::F32,
    });
    let model =
        || Ok::<_, cascadia::Error>(Arc::new(Language::of_noise(&device, config()?, &options)));
    for part in parts.split(',') {
        println!("{part}");
        match part {
            "products" => products(&device)?,
            "update" => update::update(&device, &options)?,
            "step" => {
                step(&model()?, Loss::CrossEntropy, false)?;
                step(&model()?, Loss::CrossEntropy, true)?;
                step(&model()?, Loss::ForwardKl, true)?;
            }
            _ => {}
        }
    }
    Ok(())
}
