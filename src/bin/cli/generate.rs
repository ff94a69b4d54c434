//! `cascadia generate`: text that goes on from a prompt, as it is accepted.

use super::adapt::{Adapt, Speaker, Spoken};
use super::common::Common;
use super::language::{Drawing, Models, Opened, announce};
use super::live::Live;
use super::routing::told;
use super::{Outcome, output};
use cascadia::engine::language::{KMAX, Stats};
use cascadia::engine::online::Figures;
use cascadia::io::utf8;
use cascadia::{Error, Result};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    models: Models,
    #[command(flatten)]
    drawing: Drawing,
    #[command(flatten)]
    adapt: Adapt,
    /// Text to go on from; for T5, what its encoder reads
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["tokens", "prompt_file"])]
    prompt: Option<std::ffi::OsString>,
    /// The same, from a file
    #[arg(long, value_name = "FILE", conflicts_with = "tokens")]
    prompt_file: Option<PathBuf>,
    /// A JSON list of token ids to go on from; needs no tokenizer
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Say every 64 tokens how acceptance goes; with --adapt a terminal shows it all the time
    #[arg(long)]
    stats: bool,
    /// Print one JSON object: `tokens` (the new ids), `text`, and the figures of the closing line
    #[arg(long)]
    json: bool,
}

/// What the built-in model goes on from where nothing is given.
const PROMPT: &str =
    "/// Returns the number of elements in the vector, also referred to as its 'length'.\n";

pub fn run(common: &Common, args: &Args) -> Result<Outcome> {
    let opened = args.models.open(common, true)?;
    let mut request = opened.request(&args.drawing)?;
    let prompt = prompt(args, &opened)?;
    if args.drawing.max_new.is_none() {
        request.max_new = opened.max_new(prompt.len());
    }
    let wanted = prompt.len().saturating_add(request.max_new);
    let mut session = Speaker::new(&opened, wanted, &args.adapt)?;
    session.check(&prompt, &request)?;
    let mut text = opened.tokenizer.as_ref().map(|t| t.stream());
    let (mut whole, mut new) = (String::new(), Vec::new());
    let mut live = Live::new(args.adapt.adapt || args.stats, args.stats, !args.json);
    let label = args.adapt.routing.label.as_deref();
    if !args.json {
        announce(&opened, session.drafter(label)?)?;
    }
    let spoken = session.speak(&prompt, &request, label, |tokens, stats| {
        new.extend(tokens);
        let mut piece = String::new();
        for &token in tokens {
            match &mut text {
                Some(stream) => piece += &stream.push(token)?,
                None => piece += &format!("{token} "),
            }
        }
        live.clear();
        show(args, &piece)?;
        live.show(&piece, stats);
        whole += &piece;
        Ok(())
    });
    live.clear();
    let spoken = spoken?;
    if let Some(stream) = &mut text {
        let rest = stream.finish()?;
        show(args, &rest)?;
        whole += &rest;
    }
    if !args.json {
        show(args, "\n")?;
        output::note(closing(&spoken));
    }
    let learned = session.learn(!args.json);
    if args.json {
        let figures = session.figures(spoken.routed.as_ref());
        let text = text.is_some().then_some(whole);
        output::print(json(&new, text, &spoken, figures.as_ref()))?;
    }
    learned.map(|()| session.outcome())
}

/// Prints text as it comes.
fn show(args: &Args, text: &str) -> Result<()> {
    if args.json || text.is_empty() {
        return Ok(());
    }
    output::write(text)
}

/// The tokens to go on from.
fn prompt(args: &Args, opened: &Opened) -> Result<Vec<u32>> {
    if let Some(path) = &args.tokens {
        return token_list(path);
    }
    let text = match (&args.prompt, &args.prompt_file) {
        (Some(text), _) => match text.to_str() {
            Some(text) => text.to_string(),
            None => return Err(Error::Usage("--prompt is not valid UTF-8".into())),
        },
        (None, Some(path)) => {
            let bytes = std::fs::read(path).map_err(Error::io(path))?;
            utf8(&path.display().to_string(), bytes)?
        }
        (None, None) if args.models.target.is_none() => PROMPT.to_string(),
        (None, None) => {
            return Err(Error::Usage(
                "there is nothing to go on from: give --prompt, --prompt-file or --tokens".into(),
            ));
        }
    };
    opened.text()?.prompt(&text)
}

/// The ids in a JSON list.
pub fn token_list(path: &Path) -> Result<Vec<u32>> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::file(path, format!("expected a JSON list of token ids: {e}")))
}

fn optional(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".into(), |v| format!("{v:.digits$}"))
}

/// `tokens/s, acceptance, …`
pub fn closing(spoken: &Spoken) -> String {
    let figures = figures(&spoken.stats);
    match &spoken.routed {
        Some(routed) => format!("{figures}; {}", told(routed)),
        None => figures,
    }
}

fn figures(stats: &Stats) -> String {
    let lens: Vec<String> = (0..=KMAX)
        .filter(|&k| stats.draft_lens[k] > 0)
        .map(|k| format!("{k}×{}", stats.draft_lens[k]))
        .collect();
    let percent = stats.acceptance().map(|a| 100.0 * a);
    format!(
        "{} tokens in {} rounds, {:.1} tokens/s; accepted {} % of proposals, {} a round; draft lengths {}; {} × plain",
        stats.tokens,
        stats.rounds,
        stats.tokens_per_second(),
        optional(percent, 1),
        optional(stats.mean_accepted(), 2),
        lens.join(" "),
        optional(stats.speedup(), 2),
    )
}

fn json(
    tokens: &[u32],
    text: Option<String>,
    spoken: &Spoken,
    learned: Option<&Figures>,
) -> String {
    let (stats, routed) = (&spoken.stats, spoken.routed.as_ref());
    serde_json::json!({
        "tokens": tokens,
        "text": text,
        "tokens_per_second": stats.tokens_per_second(),
        "seconds": stats.seconds,
        "rounds": stats.rounds,
        "proposed": stats.proposed,
        "accepted": stats.accepted,
        "acceptance": stats.acceptance(),
        "overlap": stats.overlap(),
        "mean_accepted": stats.mean_accepted(),
        "draft_lengths": stats.draft_lens,
        "plain_seconds": stats.plain_seconds,
        "speedup": stats.speedup(),
        "draft": routed.map(|r| &r.draft),
        "labelled": routed.map(|r| r.labelled),
        "version": learned.map(|f| f.version),
        "updates": learned.map(|f| f.updates),
        "rolled_back": learned.map(|f| f.rolled_back),
        "rows": learned.map(|f| f.rows),
    })
    .to_string()
}
