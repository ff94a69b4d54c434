//! `--adapt`: the draft learns from what verification yields while text is generated.

use super::common::within;
use super::language::{Opened, titled};
use super::routing::Routing;
use super::{Outcome, output};
use cascadia::engine::language::{Draft, Request, Session, Stats};
use cascadia::engine::online::{
    Drafts, Figures, Online, OnlineSettings, Positions, Routed, Source,
};
use cascadia::{Error, Result};
use clap::ValueEnum;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Adapt {
    /// The draft learns from what it got wrong, after each answer and while the next one is generated
    #[arg(long)]
    pub adapt: bool,
    /// The draft's folder: read where it holds one, written when it has learned
    #[arg(long, value_name = "DIR", requires = "adapt", conflicts_with_all = ["drafts", "label"])]
    save_draft: Option<PathBuf>,
    /// Which of the target's distributions it learns from: those of corrected tokens, or of accepted ones too
    #[arg(
        long,
        value_name = "WHICH",
        default_value = "errors",
        requires = "adapt"
    )]
    adapt_positions: Taught,
    /// Along whose texts: the target's own, the draft's answers to the same prompts, or either
    #[arg(
        long,
        value_name = "WHOSE",
        default_value = "teacher",
        requires = "adapt"
    )]
    adapt_source: Whose,
    /// Answers after which the draft learns from them: the paper's I
    #[arg(long, value_name = "N", default_value_t = 1, requires = "adapt", value_parser = within(1..=1000))]
    adapt_interval: usize,
    /// The learning rate, at most: what is rolled back halves it, what stands raises it again
    #[arg(
        long,
        value_name = "X",
        requires = "adapt",
        allow_negative_numbers = true
    )]
    adapt_lr: Option<f32>,
    /// Train additions of this rank to the weights, not the weights themselves (LoRA)
    #[arg(long, value_name = "RANK", requires = "adapt")]
    adapt_rank: Option<usize>,
    /// Steps of an update, each over all that it learns from: more learn faster and take longer
    #[arg(long, value_name = "N", default_value_t = 1, requires = "adapt", value_parser = within(1..=1000))]
    adapt_steps: usize,
    /// Keep of each distribution only the likeliest tokens that have this probability together; --stats tells what that
    /// drops
    #[arg(
        long,
        value_name = "P",
        requires = "adapt",
        allow_negative_numbers = true
    )]
    adapt_top_p: Option<f32>,
    #[command(flatten)]
    pub routing: Routing,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Taught {
    Errors,
    All,
}

#[derive(Clone, Copy, ValueEnum)]
enum Whose {
    Teacher,
    Student,
    Mixed,
}

impl Taught {
    pub fn positions(self) -> Positions {
        match self {
            Self::Errors => Positions::Errors,
            Self::All => Positions::All,
        }
    }
}

/// What answers: with a draft that stays as it is, with one that learns, or with several.
pub enum Speaker {
    Still(Box<Session>),
    Learning(Box<Online>),
    Several(Box<Drafts>),
}

/// What was done, and by which draft where there are several.
pub struct Spoken {
    pub stats: Stats,
    pub routed: Option<Routed>,
}

impl Adapt {
    fn online(&self) -> OnlineSettings {
        let default = OnlineSettings::default();
        OnlineSettings {
            interval: self.adapt_interval,
            lr: self.adapt_lr.unwrap_or(default.lr),
            low_rank: self.adapt_rank,
            save: self.save_draft.clone(),
            positions: self.adapt_positions.positions(),
            source: match self.adapt_source {
                Whose::Teacher => Source::Teacher,
                Whose::Student => Source::Student,
                Whose::Mixed => Source::Mixed,
            },
            steps: self.adapt_steps,
            keep_top: self.adapt_top_p,
            ..default
        }
    }
}

impl Speaker {
    /// With room for `wanted` tokens at least.
    pub fn new(opened: &Opened, wanted: usize, adapt: &Adapt) -> Result<Self> {
        if adapt.routing.wanted(opened) {
            if adapt.save_draft.is_some() {
                return Err(Error::Usage(
                    "--save-draft is the folder of one draft; several are saved below --drafts DIR"
                        .into(),
                ));
            }
            let online = adapt.adapt.then(|| adapt.online());
            let drafts = adapt.routing.open(opened, wanted, online)?;
            return Ok(Self::Several(Box::new(drafts)));
        }
        adapt.routing.alone()?;
        if !adapt.adapt {
            return Ok(Self::Still(Box::new(opened.session(wanted)?)));
        }
        let Draft::Model(draft) = &opened.draft else {
            return Err(Error::Usage(
                "--adapt trains a draft: give --draft a model".into(),
            ));
        };
        let room = opened.room(wanted)?;
        let online = Online::new(&opened.target, draft, adapt.online(), room)?;
        Ok(Self::Learning(Box::new(online)))
    }

    pub fn check(&self, prompt: &[u32], request: &Request) -> Result<()> {
        match self {
            Self::Still(session) => session.check(prompt, request),
            Self::Learning(online) => online.session().check(prompt, request),
            Self::Several(drafts) => drafts.session().check(prompt, request),
        }
    }

    /// Whether there are several drafts, and one of them can serve what is labelled `label`.
    ///
    /// # Errors
    /// [`Error::Usage`] where not.
    pub fn knows(&self, label: &str) -> Result<()> {
        match self {
            Self::Several(drafts) => drafts.check(label),
            _ => Err(Error::Usage(
                "labels are for several drafts: give --drafts, --label, or --draft with names"
                    .into(),
            )),
        }
    }

    /// Generates, with the draft of `label` where there are several; `each` gets tokens as they are accepted, and what was
    /// done so far.
    pub fn speak(
        &mut self,
        prompt: &[u32],
        request: &Request,
        label: Option<&str>,
        mut each: impl FnMut(&[u32], &Stats) -> Result<()>,
    ) -> Result<Spoken> {
        let mut shown = Ok(());
        let mut show = |tokens: &[u32], stats: &Stats| {
            if shown.is_ok() {
                shown = each(tokens, stats);
            }
        };
        let (mut stats, routed) = match self {
            Self::Still(session) => {
                let mut generation = session.generate(prompt, request)?;
                while let Some(tokens) = generation.next()? {
                    each(&tokens, generation.stats())?;
                }
                (generation.stats().clone(), None)
            }
            Self::Learning(online) => {
                let served = online.serve_shown(prompt, request, &mut show)?;
                (served.stats, None)
            }
            Self::Several(drafts) => {
                let routed = drafts.serve(prompt, request, label, &mut show)?;
                (routed.served.stats.clone(), Some(routed))
            }
        };
        // Where each round had proposals, what they gained is told by a few steps without.
        if stats.plain_seconds.is_none() && stats.proposed > 0 {
            stats.plain_seconds = Some(match self {
                Self::Still(session) => session.plain_seconds()?,
                Self::Learning(online) => online.plain_seconds()?,
                Self::Several(drafts) => drafts.plain_seconds()?,
            });
        }
        shown.map(|()| Spoken { stats, routed })
    }

    /// What drafts learned, by their names where there are several.
    fn learned(&self) -> Vec<(String, Figures)> {
        match self {
            Self::Still(_) => Vec::new(),
            Self::Learning(online) => vec![("the draft".into(), online.figures())],
            Self::Several(drafts) => (drafts.figures().into_iter())
                .filter_map(|arm| Some((format!("draft `{}`", arm.name), arm.online?)))
                .collect(),
        }
    }

    /// What proposes tokens, where that is not what was given: a draft that goes on from its folder, that of `label`, or one
    /// of several.
    pub fn drafter(&self, label: Option<&str>) -> Result<Option<String>> {
        Ok(match (self, label) {
            (Self::Still(_), _) => None,
            (Self::Learning(online), _) => Some(format!("drafts by {}", titled(online.draft())?)),
            (Self::Several(drafts), Some(label)) => Some(match drafts.called(label) {
                Some(name) => format!("drafts by {name} as `{label}`"),
                None => format!("drafts looked up in the text as `{label}`"),
            }),
            (Self::Several(drafts), None) => {
                Some(format!("drafts by one of {}", drafts.names().join(", ")))
            }
        })
    }

    /// How a command ends: not well where what was learned could not be saved.
    pub fn outcome(&self) -> Outcome {
        let unwritten = match self {
            Self::Several(drafts) => drafts.write_error().is_some(),
            _ => false,
        };
        let unsaved = |(_, figures): &(String, Figures)| figures.save_error.is_some();
        match unwritten || self.learned().iter().any(unsaved) {
            true => Outcome::Partly,
            false => Outcome::Done,
        }
    }

    /// What the draft that served learned, where it does.
    pub fn figures(&self, routed: Option<&Routed>) -> Option<Figures> {
        match (self, routed) {
            (Self::Learning(online), _) => Some(online.figures()),
            (Self::Several(drafts), Some(routed)) => {
                let mut all = drafts.figures().into_iter();
                all.find(|arm| arm.name == routed.draft)?.online
            }
            _ => None,
        }
    }

    /// Learns what is left, and with `say` tells what became of it.
    pub fn learn(&mut self, say: bool) -> Result<()> {
        let before = self.learned();
        match self {
            Self::Still(_) => return Ok(()),
            Self::Learning(online) => online.idle()?,
            Self::Several(drafts) => {
                drafts.idle()?;
                if let Some(error) = drafts.write_error() {
                    output::note(format_args!("what drafts saved was not written: {error}"));
                }
            }
        }
        for (name, figures) in self.learned() {
            let before = before.iter().find(|b| b.0 == name).map(|b| &b.1);
            let (updates, back) = before.map_or((0, 0), |b| (b.updates, b.rolled_back));
            if let Some(error) = &figures.save_error {
                output::note(format_args!("{name} was not saved: {error}"));
            }
            let several = matches!(self, Self::Several(_));
            let fate = match (figures.updates, figures.rolled_back) {
                _ if !say => continue,
                (n, _) if n > updates => "now",
                (_, n) if n > back => "rolled back, so still",
                _ if several => continue,
                _ => "nothing to learn, still",
            };
            let [was, is] = figures.canary.unwrap_or_default();
            output::note(format_args!(
                "{name}: {fate} version {}, from {} rows; Σ min(p, q) on rows held out {was:.3} before, {is:.3} after",
                figures.version, figures.rows
            ));
            let d = &figures.dropped;
            if d.rows > 0 {
                output::note(format_args!(
                    "{name}: {} rows kept in {} bytes instead of {}; dropped probability {:.4} in the mean and {:.4} at \
                     most, total variation {:.4} and {:.4}",
                    d.rows, d.bytes, d.whole_bytes, d.mean, d.most, d.tv_mean, d.tv_most
                ));
            }
        }
        Ok(())
    }
}
