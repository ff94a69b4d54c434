//! Language models of real sizes with noise for weights: decoding, v(k), prefill; and what the built-in draft gains.
//! CASCADIA_ADAPTER names an adapter, CASCADIA_MODELS some of `160m`, `1b`, `7b`, `built-in` (`160m,built-in`
//! otherwise), CASCADIA_WEIGHTS one of f32, f16, q8_0, q4_0. CASCADIA_DISPATCHES=1 adds the time of each dispatch.

use cascadia::Result;
use cascadia::device::{self, Device};
use cascadia::engine::language::{
    Draft, DraftLen, Language, Request, Room, Sampling, Session, embedded,
};
use cascadia::engine::speculate::cost;
use cascadia::models::language::Config;
use cascadia::plan::Options;
use cascadia::tensor::{DType, Format};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Published sizes: LLaMA-160M, TinyLlama-1.1B, LLaMA-7B.
fn config(name: &str) -> Result<Config> {
    let [hidden, ff, layers, heads, kv] = match name {
        "160m" => [768, 3072, 12, 12, 12],
        "1b" => [2048, 5632, 22, 32, 4],
        _ => [4096, 11008, 32, 32, 32],
    };
    Config::parse(
        Path::new(name),
        &serde_json::json!({
            "architectures": ["LlamaForCausalLM"], "vocab_size": 32000, "hidden_size": hidden,
            "intermediate_size": ff, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv, "max_position_embeddings": 4096, "hidden_act": "silu",
            "rms_norm_eps": 1e-6, "tie_word_embeddings": false, "eos_token_id": 2, "bos_token_id": 1,
        }),
    )
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

fn generate(session: &mut Session, prompt: &[u32], request: &Request) -> Result<f64> {
    let mut generation = session.generate(prompt, request)?;
    while generation.next()?.is_some() {}
    Ok(generation.stats().tokens_per_second())
}

/// v(k) as a table.
fn verify(session: &mut Session) -> Result<Vec<f64>> {
    let ms = (0..=8)
        .map(|k| session.verify_ms(k, 7))
        .collect::<Result<Vec<_>>>()?;
    for (k, t) in ms.iter().enumerate() {
        println!("  k = {k}: {t:.4} ms, v(k) = {:.3}", t / ms[0]);
    }
    Ok(ms)
}

fn sized(device: &Device, name: &str, options: &Options) -> Result<()> {
    let begun = Instant::now();
    let config = config(name)?;
    let model = Arc::new(Language::of_noise(device, config, options));
    let mut session = Session::new(&model, Draft::None, Room::of(2560))?;
    let prompt: Vec<u32> = (0..128).map(|i| 3 + i * 37 % 31_000).collect();
    generate(&mut session, &prompt, &request(16, DraftLen::Off))?;
    let loaded = begun.elapsed().as_secs_f64();
    let parameters = model.parameters()?;
    println!(
        "{name}: {:.1} M parameters in {}, loaded in {loaded:.1} s",
        parameters as f64 / 1e6,
        options.weights
    );
    for _ in 0..2 {
        let rate = generate(&mut session, &prompt, &request(128, DraftLen::Off))?;
        println!("  plain decoding, 128 tokens after 128: {rate:.1} tokens/s");
    }
    verify(&mut session)?;
    if std::env::var("CASCADIA_DISPATCHES").is_ok() {
        for k in [0, 8] {
            let mut sums: Vec<(String, f64, usize)> = Vec::new();
            for (label, ms) in session.verify_dispatches(k)? {
                match sums.iter_mut().find(|s| s.0 == label) {
                    Some(sum) => (sum.1, sum.2) = (sum.1 + ms, sum.2 + 1),
                    None => sums.push((label, ms, 1)),
                }
            }
            for (label, ms, count) in sums {
                println!(
                    "    k = {k}: {:8.2} µs × {count:3}  {label}",
                    1e3 * ms / count as f64
                );
            }
        }
    }
    for rows in [512, 2048] {
        let ms = session.prefill_ms(rows, 3)?;
        let flops = 2.0 * parameters as f64 * rows as f64;
        println!(
            "  prefill of {rows}: {ms:.2} ms, {:.0} tokens/s, {:.1} TFLOP/s",
            rows as f64 / ms * 1e3,
            flops / ms * 1e-9
        );
    }
    Ok(())
}

/// The built-in pair: measured against the cost model, for a prompt of each domain.
fn built_in(device: &Device, options: &Options) -> Result<()> {
    let [target, draft] = embedded()?;
    let tokenizer = target.tokenizer()?;
    let open = |files| Language::open(device, Arc::new(files), options).map(Arc::new);
    let (target, draft) = (open(target)?, open(draft)?);
    let prompts: std::collections::BTreeMap<String, Vec<String>> =
        serde_json::from_str(include_str!("../assets/language/prompts.json")).unwrap_or_default();
    let mut session = Session::new(&target, Draft::Model(draft.clone()), Room::of(1000))?;
    let Some(tokenizer) = tokenizer else {
        return Ok(());
    };
    let mut shown = false;
    for (domain, texts) in &prompts {
        for draft_len in [DraftLen::Off, DraftLen::Fixed(4), DraftLen::Auto] {
            let (mut tokens, mut seconds, mut proposed, mut accepted, mut rounds) =
                (0, 0.0, 0, 0, 0);
            for text in texts.iter().take(4) {
                let prompt = tokenizer.prompt(text)?;
                let mut generation = session.generate(&prompt, &request(128, draft_len))?;
                while generation.next()?.is_some() {}
                let stats = generation.stats();
                tokens += stats.tokens;
                seconds += stats.seconds;
                proposed += stats.proposed;
                accepted += stats.accepted;
                rounds += stats.rounds;
            }
            println!(
                "  {domain}, {draft_len:?}: {:.0} tokens/s, {:.2} tokens a round, acceptance {:.2}",
                f64::from(tokens as u32) / seconds,
                f64::from(tokens as u32) / rounds.max(1) as f64,
                accepted as f64 / proposed.max(1) as f64
            );
        }
        if !shown {
            let ms = verify(&mut session)?;
            if let Some(c) = session.propose_ms(7)? {
                println!("  a proposal: {c:.4} ms, c = {:.3}", c / ms[0]);
                for alpha in [0.5, 0.7, 0.9] {
                    let v: Vec<f64> = ms.iter().map(|t| t / ms[0]).collect();
                    let best = (1..v.len())
                        .map(|k| (k, cost::speedup(alpha, k, c / ms[0], v[k])))
                        .max_by(|a, b| a.1.total_cmp(&b.1));
                    println!("  at acceptance {alpha}: best draft length and speedup {best:?}");
                }
            }
            shown = true;
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let device = Device::open(&device::Options {
        adapter: std::env::var("CASCADIA_ADAPTER").ok(),
        ..device::Options::default()
    })?;
    let dtype = match device.caps().f16 {
        true => DType::F16,
        false => DType::F32,
    };
    let mut options = Options::new(dtype);
    match std::env::var("CASCADIA_WEIGHTS").as_deref() {
        Ok("f32") => options.weights = Format::F32,
        Ok("q8_0") => options.weights = Format::Q8_0,
        Ok("q4_0") => options.weights = Format::Q4_0,
        _ => {}
    }
    println!("{}", device.name());
    let models = std::env::var("CASCADIA_MODELS").unwrap_or("160m,built-in".into());
    for name in models.split(',') {
        match name {
            "built-in" => built_in(&device, &options)?,
            name => sized(&device, name, &options)?,
        }
    }
    Ok(())
}
