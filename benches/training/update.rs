//! Updates from requests beside a large target, in idle time and between rounds.

use super::{config, request, sized};
use cascadia::Result;
use cascadia::device::Device;
use cascadia::engine::language::{DraftLen, Language, Room};
use cascadia::engine::online::{Online, OnlineSettings};
use cascadia::plan::Options;
use std::sync::Arc;
use std::time::Instant;

/// Serves `requests` of 128 tokens after 128; milliseconds from one arrival of tokens to the next, and seconds in all.
fn serve(online: &mut Online, requests: usize, seed: u32) -> Result<(Vec<f64>, f64)> {
    let begun = Instant::now();
    let mut waits = Vec::new();
    for i in 0..requests as u32 {
        let prompt: Vec<u32> = (0..128)
            .map(|j| 3 + (j * 37 + (seed + i) * 911) % 31_000)
            .collect();
        let mut last: Option<Instant> = None;
        online.serve(&prompt, &request(128, DraftLen::Fixed(3)), &mut |_| {
            let now = Instant::now();
            if let Some(last) = last {
                waits.push((now - last).as_secs_f64() * 1e3);
            }
            last = Some(now);
        })?;
    }
    Ok((waits, begun.elapsed().as_secs_f64()))
}

fn show(what: &str, mut waits: Vec<f64>) {
    waits.sort_by(f64::total_cmp);
    let at = |q: f64| waits[((waits.len() - 1) as f64 * q) as usize];
    println!(
        "  {what}: {} waits for tokens, median {:.3} ms, 90 % {:.3}, 99 % {:.3}, longest {:.3}",
        waits.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
}

/// Serves until an update needs no plan that is not there.
fn warm(online: &mut Online) -> Result<()> {
    let mut made = online.figures();
    for i in 0..6 {
        serve(online, 8, 50 * i)?;
        online.idle()?;
        let before = std::mem::replace(&mut made, online.figures());
        println!(
            "  before that, an update in {:.1} ms, {:.1} ms of them in slices that made plans",
            1e3 * (made.update_seconds - before.update_seconds),
            1e3 * (made.plan_seconds - before.plan_seconds),
        );
        if i > 0 && made.plan_seconds == before.plan_seconds {
            break;
        }
    }
    Ok(())
}

/// Updates from eight requests, in idle time and between the rounds of others.
pub fn update(device: &Device, options: &Options) -> Result<()> {
    let name = std::env::var("CASCADIA_TARGET").unwrap_or("7b".into());
    let target = Arc::new(Language::of_noise(device, sized(&name)?, options));
    let draft = Arc::new(Language::of_noise(device, config()?, options));
    let online = |steps, share| {
        let settings = OnlineSettings {
            steps,
            share,
            lr: 1e-5,
            tolerance: 1.0,
            ..OnlineSettings::default()
        };
        Online::new(&target, &draft, settings, Room::of(512))
    };
    for steps in [1, 4] {
        let mut online = online(steps, 0.0)?;
        warm(&mut online)?;
        for seed in (400..).step_by(50).take(3 / steps.min(3)) {
            let made = online.figures();
            let (_, seconds) = serve(&mut online, 8, seed)?;
            let begun = Instant::now();
            online.idle()?;
            let ms = begun.elapsed().as_secs_f64() * 1e3;
            let now = online.figures();
            println!(
                "  {name}, {steps} steps: an update of 8 requests, {} rows, in idle time: {ms:.1} ms, {:.2} % of the \
                     {seconds:.2} s that they took; {:.1} ms of it counted",
                now.rows - made.rows,
                ms / 10.0 / seconds,
                1e3 * (now.update_seconds - made.update_seconds),
            );
        }
    }
    // Waits with and without updates, in turns, of the same requests.
    let share = OnlineSettings::default().share;
    let (mut off, mut on) = (online(1, 0.0)?, online(1, share)?);
    warm(&mut on)?;
    serve(&mut off, 8, 0)?;
    let made = on.figures();
    let (mut waits, mut seconds) = ([Vec::new(), Vec::new()], 0.0);
    for turn in 0..5 {
        waits[0].extend(serve(&mut off, 8, 400 + 8 * turn)?.0);
        let (more, took) = serve(&mut on, 8, 400 + 8 * turn)?;
        waits[1].extend(more);
        seconds += took;
    }
    let now = on.figures();
    println!(
        "  {name}, 1 step, share {share}: {} updates between rounds in {} slices, {:.2} % of {seconds:.2} s",
        now.updates - made.updates,
        now.slices - made.slices,
        100.0 * (now.serve_update_seconds - made.serve_update_seconds) / seconds,
    );
    println!("  {now:?}");
    let [off, on] = waits;
    show("training off", off);
    show("training on", on);
    Ok(())
}
