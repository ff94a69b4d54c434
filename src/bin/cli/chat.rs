//! `cascadia chat`: a conversation in the checkpoint's own template. What was said is not computed again. Of several
//! drafts, `/label NAME` chooses one.

use super::adapt::{Adapt, Speaker};
use super::common::Common;
use super::generate::closing;
use super::language::{Drawing, Models, announce};
use super::live::Live;
use super::{Outcome, output};
use cascadia::io::text::Message;
use cascadia::{Error, Result};
use std::io::BufRead;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    models: Models,
    #[command(flatten)]
    drawing: Drawing,
    #[command(flatten)]
    adapt: Adapt,
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Print the figures after every answer
    #[arg(long)]
    stats: bool,
}

/// A line that begins so says what the questions after it are about; with nothing behind it, nothing more is said.
const LABEL: &str = "/label";

pub fn run(common: &Common, args: &Args) -> Result<Outcome> {
    let opened = args.models.open(common, true)?;
    let request = opened.request(&args.drawing)?;
    let tokenizer = opened.text()?;
    if tokenizer.template().is_none() {
        return Err(Error::Usage(format!(
            "{} has no chat template: it was not made for conversations; use `cascadia generate`",
            opened.target.name()
        )));
    }
    let mut session = Speaker::new(&opened, request.max_new, &args.adapt)?;
    announce(
        &opened,
        session.drafter(args.adapt.routing.label.as_deref())?,
    )?;
    let mut messages: Vec<Message> = (args.system.iter())
        .map(|text| Message::new("system", text.as_str()))
        .collect();
    output::note("An empty line ends the conversation.");
    let mut live = Live::new(args.adapt.adapt || args.stats, args.stats, true);
    let mut label = args.adapt.routing.label.clone();
    let mut lines = std::io::stdin().lock().lines();
    loop {
        output::write("> ")?;
        let line = match lines.next() {
            Some(Ok(line)) if !line.trim().is_empty() => line,
            Some(Err(e)) => return Err(Error::io("stdin")(e)),
            _ => return Ok(session.outcome()),
        };
        let mut words = line.split_whitespace();
        if words.next() == Some(LABEL) {
            match words.next() {
                None => label = None,
                Some(name) => match session.knows(name) {
                    Ok(()) => label = Some(name.to_string()),
                    Err(e) => output::error(&e),
                },
            }
            continue;
        }
        messages.push(Message::new("user", line));
        let prompt = tokenizer.chat(&messages)?;
        // What there is no room for is not said, and the conversation goes on.
        if let Err(e) = session.check(&prompt, &request) {
            output::error(&e);
            messages.pop();
            continue;
        }
        let (mut stream, mut answer) = (tokenizer.stream(), String::new());
        live.restart();
        let spoken = session.speak(&prompt, &request, label.as_deref(), |tokens, stats| {
            let mut piece = String::new();
            for &token in tokens.iter().filter(|t| !request.stop.contains(t)) {
                piece += &stream.push(token)?;
            }
            live.clear();
            output::write(&piece)?;
            live.show(&piece, stats);
            answer += &piece;
            Ok(())
        });
        live.clear();
        let spoken = spoken?;
        let rest = stream.finish()?;
        output::write(&format!("{rest}\n"))?;
        answer += &rest;
        if args.stats {
            output::note(closing(&spoken));
        }
        session.learn(args.stats)?;
        messages.push(Message::new("assistant", answer));
    }
}
