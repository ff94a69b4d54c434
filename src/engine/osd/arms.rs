//! Who serves the requests: the target alone, drafts that stay as they are, drafts that learn.

use super::streams::Stream;
use crate::engine::language::{Draft, Language, Request, Room, Session, Stats, Watch};
use crate::engine::online::{Drafts, DraftsSettings, Figures, Online, OnlineSettings};
use crate::error::{Error, Result};
use std::str::FromStr;
use std::sync::Arc;

/// An arm of the experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The target without a draft.
    Plain,
    /// The draft as it is.
    Static,
    /// The draft, distilled beforehand on every tenth request of the stream.
    Tenth,
    /// A draft that learns while it serves, after each eighth request.
    Online8,
    /// After each request.
    Online1,
    /// A draft for each domain, which learns from that one's requests alone, after each eighth of them: the domain comes
    /// with the request. On streams that mix domains.
    Routed,
    /// The draft, distilled beforehand on the whole stream: the upper bound.
    Offline,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Plain,
        Self::Static,
        Self::Tenth,
        Self::Online8,
        Self::Online1,
        Self::Routed,
        Self::Offline,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Static => "static",
            Self::Tenth => "static-10",
            Self::Online8 => "online-8",
            Self::Online1 => "online-1",
            Self::Routed => "routed",
            Self::Offline => "offline",
        }
    }

    /// Whether it learns while it serves.
    pub fn learns(self) -> bool {
        matches!(self, Self::Online8 | Self::Online1 | Self::Routed)
    }

    /// Whether it is to be run on `stream`: a stream of all domains mixed is there to compare one draft for all with one
    /// for each, which on others would be the same or nearly.
    pub fn serves(self, stream: Stream) -> bool {
        match self {
            Self::Routed => stream == Stream::Mixed,
            Self::Plain | Self::Static | Self::Online8 => true,
            Self::Tenth | Self::Online1 | Self::Offline => stream != Stream::Mixed,
        }
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = Self::ALL;
        all.into_iter().find(|k| k.name() == text).ok_or_else(|| {
            Error::Usage(format!(
                "there is no arm `{text}`; expected {}",
                all.map(Kind::name).join(", ")
            ))
        })
    }
}

/// What an arm did with a request.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub tokens: Vec<u32>,
    pub stats: Stats,
    pub overlap: Option<f64>,
    pub update_seconds: f64,
}

/// Serves requests one after the other.
pub trait Arm {
    /// Serves a request of `domain`.
    ///
    /// # Errors
    /// As [`Session::generate`].
    fn serve(&mut self, domain: usize, prompt: &[u32], request: &Request) -> Result<Answer>;

    /// What it learned so far.
    fn updates(&self) -> Updates {
        Updates::default()
    }
}

/// A target with a draft for each domain, each of which learns as [`Learning`] does.
pub struct Routed(Drafts);

impl Routed {
    /// # Errors
    /// As [`Drafts::new`].
    pub fn new(
        target: &Arc<Language>,
        draft: &Arc<Language>,
        settings: OnlineSettings,
        room: Room,
    ) -> Result<Self> {
        let settings = DraftsSettings {
            online: Some(OnlineSettings {
                share: 0.0,
                // They share the rows.
                max_rows: 4 * settings.max_rows,
                save: None,
                ..settings
            }),
            ..DraftsSettings::default()
        };
        Drafts::new(target, Some(draft.clone()), Vec::new(), settings, room).map(Self)
    }

    /// What all of them learned.
    fn figures(&self) -> impl Iterator<Item = Figures> {
        self.0.figures().into_iter().filter_map(|arm| arm.online)
    }

    fn update_seconds(&self) -> f64 {
        self.figures().map(|f| f.update_seconds).sum()
    }
}

impl Arm for Routed {
    fn serve(&mut self, domain: usize, prompt: &[u32], request: &Request) -> Result<Answer> {
        let before = self.update_seconds();
        let label = format!("domain-{domain}");
        let served = (self
            .0
            .serve(prompt, request, Some(&label), &mut |_, _| {})?)
        .served;
        if self.0.pending() {
            self.0.idle()?;
        }
        Ok(Answer {
            tokens: served.tokens,
            overlap: served.overlap,
            stats: served.stats,
            update_seconds: self.update_seconds() - before,
        })
    }

    fn updates(&self) -> Updates {
        self.figures()
            .map(|f| Updates::of(&f))
            .fold(Updates::default(), |a, b| Updates {
                stand: a.stand + b.stand,
                rolled_back: a.rolled_back + b.rolled_back,
                rejected_steps: a.rejected_steps + b.rejected_steps,
                rows: a.rows + b.rows,
            })
    }
}

/// Updates of a draft that learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Updates {
    pub stand: usize,
    pub rolled_back: usize,
    pub rejected_steps: usize,
    /// Distributions that they took.
    pub rows: usize,
}

impl Updates {
    fn of(figures: &Figures) -> Self {
        Self {
            stand: figures.updates,
            rolled_back: figures.rolled_back,
            rejected_steps: figures.rejected,
            rows: figures.rows,
        }
    }
}

/// A target with a draft that stays as it is, or with none.
pub struct Fixed(Session);

impl Fixed {
    /// # Errors
    /// As [`Session::new`].
    pub fn new(target: &Arc<Language>, draft: Option<&Arc<Language>>, room: Room) -> Result<Self> {
        let drafted = draft.is_some();
        let draft = draft.map_or(Draft::None, |d| Draft::Model(d.clone()));
        let mut session = Session::new(target, draft, room)?;
        if drafted {
            session.watch(Watch {
                rows: 0,
                all: false,
            })?;
        }
        Ok(Self(session))
    }
}

/// A target whose draft learns while it serves. Updates that are due are made between requests, whole, so that which
/// request is the first to have them does not depend on the device.
pub struct Learning(Online);

impl Learning {
    /// # Errors
    /// As [`Online::new`].
    pub fn new(
        target: &Arc<Language>,
        draft: &Arc<Language>,
        settings: OnlineSettings,
        room: Room,
    ) -> Result<Self> {
        let settings = OnlineSettings {
            share: 0.0,
            slice_ms: f64::MAX,
            sequences: 8,
            ..settings
        };
        Online::new(target, draft, settings, room).map(Self)
    }
}

impl Arm for Learning {
    fn serve(&mut self, _: usize, prompt: &[u32], request: &Request) -> Result<Answer> {
        let before = self.0.figures().update_seconds;
        let served = self.0.serve(prompt, request, &mut |_| {})?;
        if self.0.pending() {
            self.0.idle()?;
        }
        Ok(Answer {
            tokens: served.tokens,
            overlap: served.overlap,
            stats: served.stats,
            update_seconds: self.0.figures().update_seconds - before,
        })
    }

    fn updates(&self) -> Updates {
        Updates::of(&self.0.figures())
    }
}

impl Arm for Fixed {
    fn serve(&mut self, _: usize, prompt: &[u32], request: &Request) -> Result<Answer> {
        let mut generation = self.0.generate(prompt, request)?;
        let mut tokens = Vec::new();
        while let Some(new) = generation.next()? {
            tokens.extend(new);
        }
        let stats = generation.stats().clone();
        Ok(Answer {
            tokens,
            overlap: stats.overlap(),
            stats,
            update_seconds: 0.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Stream};

    #[test]
    fn arms_have_names() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse::<Kind>().ok(), Some(kind));
        }
        assert!(Kind::Routed.serves(Stream::Mixed) && !Kind::Routed.serves(Stream::Sharp));
        assert!(Kind::ALL.iter().filter(|k| k.serves(Stream::Sharp)).count() == 6);
        assert!(
            "medusa"
                .parse::<Kind>()
                .is_err_and(|e| e.to_string().contains("static-10"))
        );
    }
}
