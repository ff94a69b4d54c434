//! Who serves the requests: the target alone, drafts that stay as they are, drafts that learn.

use crate::engine::language::{Draft, Language, Request, Room, Session, Stats, Watch};
use crate::engine::online::{Online, OnlineSettings};
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
    /// The draft, distilled beforehand on the whole stream: the upper bound.
    Offline,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Plain,
        Self::Static,
        Self::Tenth,
        Self::Online8,
        Self::Online1,
        Self::Offline,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Static => "static",
            Self::Tenth => "static-10",
            Self::Online8 => "online-8",
            Self::Online1 => "online-1",
            Self::Offline => "offline",
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
    /// # Errors
    /// As [`Session::generate`].
    fn serve(&mut self, prompt: &[u32], request: &Request) -> Result<Answer>;

    /// What it learned so far.
    fn updates(&self) -> Updates {
        Updates::default()
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
            ..settings
        };
        Online::new(target, draft, settings, room).map(Self)
    }
}

impl Arm for Learning {
    fn serve(&mut self, prompt: &[u32], request: &Request) -> Result<Answer> {
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
        let figures = self.0.figures();
        Updates {
            stand: figures.updates,
            rolled_back: figures.rolled_back,
            rejected_steps: figures.rejected,
            rows: figures.rows,
        }
    }
}

impl Arm for Fixed {
    fn serve(&mut self, prompt: &[u32], request: &Request) -> Result<Answer> {
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
    use super::Kind;

    #[test]
    fn arms_have_names() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse::<Kind>().ok(), Some(kind));
        }
        assert!(
            "medusa"
                .parse::<Kind>()
                .is_err_and(|e| e.to_string().contains("static-10"))
        );
    }
}
