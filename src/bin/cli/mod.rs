//! `cascadia`: one file for each command. Errors are one line on stderr and an exit code: 1 where something failed,
//! 2 where the command line is at fault.

mod adapt;
mod chart;
mod chat;
mod classify;
mod common;
mod devices;
mod distill;
mod evaluate;
mod generate;
mod language;
mod lessons;
mod live;
mod logits;
mod osd;
mod osd_figures;
mod osd_report;
mod output;
mod page;
mod perplexity;
mod plan;
mod plan_language;
mod profile;
mod routing;
mod run;
mod saving;
mod table;
mod train;
mod training;

use cascadia::Error;
use clap::{Parser, Subcommand};
use common::Common;
use std::process::ExitCode;

/// EfficientViT and language models on any GPU, from hand-written WGSL.
#[derive(Parser)]
#[command(name = "cascadia", version)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say what pictures show
    Classify(classify::Args),
    /// Run a model on tensors: safetensors in, safetensors out
    Run(run::Args),
    /// Go on from a text
    Generate(generate::Args),
    /// Talk with a model
    Chat(chat::Args),
    /// Measure how well a model foresees a text
    Perplexity(perplexity::Args),
    /// Have a draft learn from a target
    Distill(distill::Args),
    /// Measure what a draft gains by learning online: the paper's experiment, its tables and figures
    Osd(osd::Args),
    /// Train a model from scratch on text
    Train(train::Args),
    /// Measure top-1 and top-5 on a folder of class folders
    Evaluate(evaluate::Args),
    /// Print how a model is computed; reads no weights
    Plan(plan::Args),
    /// Time every dispatch of a model, fused and unfused; needs no weights
    Profile(profile::Args),
    /// List the adapters and what they offer
    Devices(devices::Args),
}

/// How a command ended.
enum Outcome {
    Done,
    /// Some of its inputs failed, and it has named them.
    Partly,
}

pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return refused(&e),
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let common = &cli.common;
    let outcome = match &cli.command {
        Command::Classify(args) => classify::run(common, args),
        Command::Run(args) => run::run(common, args),
        Command::Generate(args) => generate::run(common, args),
        Command::Chat(args) => chat::run(common, args),
        Command::Perplexity(args) => perplexity::run(common, args),
        Command::Distill(args) => distill::run(common, args),
        Command::Osd(args) => osd::run(common, args),
        Command::Train(args) => train::run(common, args),
        Command::Evaluate(args) => evaluate::run(common, args),
        Command::Plan(args) => plan::run(common, args),
        Command::Profile(args) => profile::run(common, args),
        Command::Devices(args) => devices::run(common, args),
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Partly) => ExitCode::from(1),
        Err(e) => {
            output::error(&e);
            match e {
                Error::Usage(_) => ExitCode::from(2),
                _ => ExitCode::from(1),
            }
        }
    }
}

/// Help and version are printed as they are; of a fault, the first line.
fn refused(e: &clap::Error) -> ExitCode {
    if !e.use_stderr() {
        let shown = output::print(e.render());
        return ExitCode::from(u8::from(shown.is_err()));
    }
    let text = e.render().to_string();
    if e.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        output::note(text.trim_end());
        return ExitCode::from(2);
    }
    // What is missing stands in lines of its own, up to an empty one.
    let fault: Vec<&str> = (text.lines().map(str::trim))
        .take_while(|line| !line.is_empty())
        .collect();
    output::note(format_args!("{}; try --help", fault.join(" ")));
    ExitCode::from(2)
}
