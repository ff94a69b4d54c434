//! `--adapt`: the draft learns from what verification yields while text is generated.

use super::language::Opened;
use super::output;
use cascadia::engine::language::{Draft, Request, Session, Stats};
use cascadia::engine::online::{Online, OnlineSettings};
use cascadia::{Error, Result};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Adapt {
    /// The draft learns from what it got wrong, after each answer and while the next one is generated
    #[arg(long)]
    adapt: bool,
    /// The draft's folder: read where it holds one, written when it has learned
    #[arg(long, value_name = "DIR", requires = "adapt")]
    save_draft: Option<PathBuf>,
}

/// What answers: with a draft that stays as it is, or with one that learns.
pub enum Speaker {
    Still(Box<Session>),
    Learning(Box<Online>),
}

impl Speaker {
    /// With room for `wanted` tokens at least.
    pub fn new(opened: &Opened, wanted: usize, adapt: &Adapt) -> Result<Self> {
        if !adapt.adapt {
            return Ok(Self::Still(Box::new(opened.session(wanted)?)));
        }
        let Draft::Model(draft) = &opened.draft else {
            return Err(Error::Usage(
                "--adapt trains a draft: give --draft a model".into(),
            ));
        };
        let settings = OnlineSettings {
            interval: 1,
            save: adapt.save_draft.clone(),
            ..OnlineSettings::default()
        };
        let room = opened.room(wanted)?;
        let online = Online::new(&opened.target, draft, settings, room)?;
        Ok(Self::Learning(Box::new(online)))
    }

    pub fn check(&self, prompt: &[u32], request: &Request) -> Result<()> {
        match self {
            Self::Still(session) => session.check(prompt, request),
            Self::Learning(online) => online.session().check(prompt, request),
        }
    }

    /// Generates; `each` gets tokens as they are accepted.
    pub fn speak(
        &mut self,
        prompt: &[u32],
        request: &Request,
        mut each: impl FnMut(&[u32]) -> Result<()>,
    ) -> Result<Stats> {
        match self {
            Self::Still(session) => {
                let mut generation = session.generate(prompt, request)?;
                while let Some(tokens) = generation.next()? {
                    each(&tokens)?;
                }
                Ok(generation.stats().clone())
            }
            Self::Learning(online) => {
                let mut shown = Ok(());
                let served = online.serve(prompt, request, &mut |tokens| {
                    if shown.is_ok() {
                        shown = each(tokens);
                    }
                })?;
                shown.map(|()| served.stats)
            }
        }
    }

    /// Learns what is left, and with `say` tells what became of it.
    pub fn learn(&mut self, say: bool) -> Result<()> {
        let Self::Learning(online) = self else {
            return Ok(());
        };
        let before = online.figures();
        online.idle()?;
        let figures = online.figures();
        if let Some(error) = &figures.save_error {
            output::note(format_args!("the draft was not saved: {error}"));
        }
        if !say {
            return Ok(());
        }
        let fate = match (figures.updates, figures.rolled_back) {
            (n, _) if n > before.updates => "now",
            (_, n) if n > before.rolled_back => "rolled back, so still",
            _ => "nothing to learn, still",
        };
        let [was, is] = figures.canary.unwrap_or_default();
        output::note(format_args!(
            "the draft: {fate} version {}, from {} rows; Σ min(p, q) on rows held out {was:.3} before, {is:.3} after",
            figures.version, figures.rows
        ));
        Ok(())
    }
}
