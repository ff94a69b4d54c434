//! Language models of real sizes with noise for weights: decoding against the bandwidth floor, v(k), prefill against
//! this adapter's own products; and what the built-in draft gains, against the cost model.
//! CASCADIA_ADAPTER names an adapter, CASCADIA_MODELS some of `160m`, `1b`, `7b`, `built-in` (`160m,built-in`
//! otherwise), CASCADIA_WEIGHTS one of f32, f16, q8_0, q4_0. CASCADIA_DISPATCHES=1 adds the time of each kernel.
//! CASCADIA_DRAFT is the folder of another draft for the built-in target.

use cascadia::Result;
use cascadia::device::{self, Device, Executable};
use cascadia::engine::language::{
    Draft, DraftLen, Language, Request, Room, Sampling, Session, embedded,
};
use cascadia::engine::profile::{Row, noise_weights};
use cascadia::engine::speculate::cost;
use cascadia::graph::{Graph, Weight};
use cascadia::io::LanguageFiles;
use cascadia::models::language::Config;
use cascadia::plan::{Options, Plan};
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

/// What this adapter reaches: bytes a second of an elementwise pass over 1 GiB, read and written, and operations a second
/// of the product of many rows at 4096³.
fn ceilings(device: &Device, options: &Options) -> Result<[f64; 2]> {
    let large = device.caps().parallel > 16;
    let (n, rows) = if large { (4096, 8192) } else { (256, 64) };
    let best = |graph: Graph, options: &Options| -> Result<f64> {
        let plan = Plan::new(&graph.finish()?, device.caps(), options)?;
        let exe = Executable::load(device, Arc::new(plan), &noise_weights)?;
        // A device that idled is slow at first.
        let begun = Instant::now();
        while begun.elapsed().as_millis() < 600 {
            (0..if large { 20 } else { 1 }).try_for_each(|_| exe.submit(false))?;
            exe.wait()?;
        }
        Ok(exe.time(20)?.into_iter().fold(f64::MAX, f64::min))
    };
    let graph = Graph::new();
    graph.output("y", graph.input("x", &[rows, 32_768]).relu());
    let pass = 8.0 * (rows * 32_768) as f64 / best(graph, &Options::new(DType::F32))? * 1e3;
    let graph = Graph::new();
    let weight = Weight::plain("w", &[n, n]);
    graph.output("y", graph.input("x", &[n, n]).project(&weight, None));
    Ok([pass, 2.0 * (n as f64).powi(3) / best(graph, options)? * 1e3])
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
        .map(|k| session.verify_ms(k, 9))
        .collect::<Result<Vec<_>>>()?;
    for (k, t) in ms.iter().enumerate() {
        println!("  k = {k}: {t:.4} ms, v(k) = {:.3}", t / ms[0]);
    }
    Ok(ms)
}

/// The time and the bytes of each kind of dispatch: kernel, op, bytes.
fn dispatches(session: &mut Session, k: usize) -> Result<()> {
    let mut sums: Vec<(Row, f64, usize)> = Vec::new();
    for row in session.verify_dispatches(k)? {
        let ms = row.gpu_ms.unwrap_or_default();
        let same = |s: &&mut (Row, f64, usize)| s.0.label == row.label && s.0.bytes == row.bytes;
        match sums.iter_mut().find(same) {
            Some(sum) => (sum.1, sum.2) = (sum.1 + ms, sum.2 + 1),
            None => sums.push((row, ms, 1)),
        }
    }
    let all: f64 = sums.iter().map(|s| s.1).sum();
    println!("  dispatches, k = {k}: {all:.3} ms with a timestamp after each");
    for (row, ms, count) in sums {
        let each = ms / count as f64;
        println!(
            "    {:8.2} µs × {count:3} = {:5.1} %, {:8.2} MB, {:5.2} TB/s  {} {}",
            1e3 * each,
            100.0 * ms / all,
            row.bytes as f64 / 1e6,
            row.bytes as f64 / each * 1e-9,
            row.op,
            row.label
        );
    }
    Ok(())
}

fn sized(device: &Device, name: &str, options: &Options, [pass, rate]: [f64; 2]) -> Result<()> {
    let begun = Instant::now();
    let config = config(name)?;
    let model = Arc::new(Language::of_noise(device, config, options));
    let mut session = Session::new(&model, Draft::None, Room::of(2560))?;
    let prompt: Vec<u32> = (0..128).map(|i| 3 + i * 37 % 31_000).collect();
    generate(&mut session, &prompt, &request(16, DraftLen::Off))?;
    let loaded = begun.elapsed().as_secs_f64();
    let parameters = model.parameters()? as f64;
    println!(
        "{name}: {:.1} M parameters in {}, loaded in {loaded:.1} s",
        parameters / 1e6,
        options.weights
    );
    // All weights are read for a token; of the embedding table it is one row.
    let floor = pass / (parameters * options.weights.bytes(1024) as f64 / 1024.0);
    for _ in 0..3 {
        let rate = generate(&mut session, &prompt, &request(128, DraftLen::Off))?;
        println!(
            "  plain decoding, 128 tokens after 128: {rate:.1} tokens/s, {:.3} of the bandwidth floor {floor:.1}",
            rate / floor
        );
    }
    verify(&mut session)?;
    if std::env::var("CASCADIA_DISPATCHES").is_ok() {
        dispatches(&mut session, 0)?;
        dispatches(&mut session, 8)?;
    }
    for rows in [512, 2048] {
        let ms = session.prefill_ms(rows, 3)?;
        let reached = 2.0 * parameters * rows as f64 / ms * 1e3;
        println!(
            "  prefill of {rows}: {ms:.2} ms, {:.0} tokens/s, {:.1} TFLOP/s, {:.1} % of that product's",
            rows as f64 / ms * 1e3,
            reached * 1e-12,
            100.0 * reached / rate
        );
    }
    Ok(())
}

/// What rounds of one draft length brought for some prompts.
#[derive(Default)]
struct Measured {
    tokens: usize,
    seconds: f64,
    rounds: usize,
    accepted: usize,
    rejected: usize,
    /// Rounds by their proposals.
    lengths: Vec<usize>,
}

impl Measured {
    fn rate(&self) -> f64 {
        self.tokens as f64 / self.seconds
    }

    /// The probability that a proposal is accepted where those before it were.
    fn alpha(&self) -> f64 {
        self.accepted as f64 / (self.accepted + self.rejected).max(1) as f64
    }
}

/// The middle of three, by its rate.
fn measure(session: &mut Session, prompts: &[Vec<u32>], draft_len: DraftLen) -> Result<Measured> {
    let mut three = (0..3)
        .map(|_| measure_once(session, prompts, draft_len))
        .collect::<Result<Vec<_>>>()?;
    three.sort_by(|a, b| a.rate().total_cmp(&b.rate()));
    Ok(three.swap_remove(1))
}

fn measure_once(
    session: &mut Session,
    prompts: &[Vec<u32>],
    draft_len: DraftLen,
) -> Result<Measured> {
    let mut m = Measured::default();
    for prompt in prompts {
        let mut generation = session.generate(prompt, &request(128, draft_len))?;
        while let Some(tokens) = generation.next()? {
            if let DraftLen::Fixed(k) = draft_len
                && generation.stats().tokens < 128
            {
                m.accepted += tokens.len() - 1;
                m.rejected += usize::from(tokens.len() <= k);
            }
        }
        let stats = generation.stats();
        m.tokens += stats.tokens;
        m.seconds += stats.seconds;
        m.rounds += stats.rounds;
        m.lengths.resize(stats.draft_lens.len(), 0);
        for (sum, n) in m.lengths.iter_mut().zip(&stats.draft_lens) {
            *sum += n;
        }
    }
    Ok(m)
}

/// The built-in pair: measured against the cost model, for prompts of each domain.
fn built_in(device: &Device, options: &Options) -> Result<()> {
    let [target, draft] = embedded()?;
    let draft = match std::env::var("CASCADIA_DRAFT") {
        Ok(folder) => LanguageFiles::open(Path::new(&folder))?,
        Err(_) => draft,
    };
    let Some(tokenizer) = target.tokenizer()? else {
        return Ok(());
    };
    let open = |files| Language::open(device, Arc::new(files), options).map(Arc::new);
    let (target, draft) = (open(target)?, open(draft)?);
    let prompts: std::collections::BTreeMap<String, Vec<String>> =
        serde_json::from_str(include_str!("../assets/language/prompts.json")).unwrap_or_default();
    let mut session = Session::new(&target, Draft::Model(draft.clone()), Room::of(1000))?;
    println!("built-in pair:");
    let first = tokenizer.prompt("select")?;
    // Awake, and every plan made.
    for draft_len in [0, 1, 2, 4, 8].map(DraftLen::Fixed) {
        measure(&mut session, &vec![first.clone(); 4], draft_len)?;
    }
    let ms = verify(&mut session)?;
    let c = session.propose_ms(9)?.unwrap_or_default() / ms[0];
    println!("  c = {c:.3}");
    for (domain, texts) in &prompts {
        let prompts = (texts.iter().take(4))
            .map(|text| tokenizer.prompt(text))
            .collect::<Result<Vec<_>>>()?;
        let plain = measure(&mut session, &prompts, DraftLen::Off)?;
        println!("  {domain}: plain {:.0} tokens/s", plain.rate());
        for k in [1, 2, 4, 8] {
            let m = measure(&mut session, &prompts, DraftLen::Fixed(k))?;
            let (found, model) = (
                m.rate() / plain.rate(),
                cost::speedup(m.alpha(), k, c, ms[k] / ms[0]),
            );
            println!(
                "    k = {k}: {:.0} tokens/s, {:.2} tokens a round, alpha {:.3}, speedup {found:.3}, the model's {model:.3}, ratio {:.3}; a round costs {:.3}",
                m.rate(),
                m.tokens as f64 / m.rounds as f64,
                m.alpha(),
                found / model,
                m.tokens as f64 / m.rounds as f64 / found
            );
        }
        let show = |what: &str, m: &Measured| {
            let used: Vec<String> = (m.lengths.iter().enumerate())
                .filter(|(_, n)| **n > 0)
                .map(|(k, n)| format!("{k}×{n}"))
                .collect();
            println!(
                "    {what}: {:.0} tokens/s, speedup {:.3}, lengths {}",
                m.rate(),
                m.rate() / plain.rate(),
                used.join(" ")
            );
        };
        let mut fresh = Session::new(&target, Draft::Model(draft.clone()), Room::of(1000))?;
        // One after the other: what is measured first is of a session that has measured nothing.
        for i in 0..3 {
            let auto = measure_once(&mut fresh, &prompts, DraftLen::Auto)?;
            show(&format!("auto, a session of its own, pass {i}"), &auto);
        }
        show("auto", &measure(&mut session, &prompts, DraftLen::Auto)?);
        show(
            "planned",
            &measure(&mut session, &prompts, DraftLen::Planned)?,
        );
    }
    for clock in [false, true] {
        let costs = (0..=15)
            .map(|k| Ok(format!("{:.3}", session.round_cost(k, clock)?)))
            .collect::<Result<Vec<_>>>()?;
        let by = if clock { "by the clock" } else { "as planned" };
        println!(
            "  rounds of 0 to 15 proposals cost {by}: {}",
            costs.join(" ")
        );
    }
    if std::env::var("CASCADIA_DISPATCHES").is_ok() {
        dispatches(&mut session, 0)?;
        dispatches(&mut session, 4)?;
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
    let [pass, rate] = ceilings(&device, &options)?;
    println!(
        "{}: an elementwise pass {:.2} TB/s, read and written; a product of many rows in {} {:.1} TFLOP/s",
        device.name(),
        pass * 1e-12,
        options.weights,
        rate * 1e-12
    );
    let models = std::env::var("CASCADIA_MODELS").unwrap_or("160m,built-in".into());
    for name in models.split(',') {
        match name {
            "built-in" => built_in(&device, &options)?,
            name => sized(&device, name, &options, [pass, rate])?,
        }
    }
    Ok(())
}
