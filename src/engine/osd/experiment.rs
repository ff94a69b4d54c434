//! The experiment: every arm on every stream, by several seeds.

use super::arms::{Arm, Fixed, Kind, Learning, Routed, Updates};
use super::drafts::{self, Schooling};
use super::scores::Row;
use super::streams::Stream;
use crate::engine::distill::{Settings as Training, Texts};
use crate::engine::language::{DraftLen, Language, Request, Room, Sampling};
use crate::engine::online::OnlineSettings;
use crate::error::Result;
use std::sync::Arc;

/// An update by eight requests makes so many steps for one of an update by a single request: as many more would follow the
/// chance of it.
const STEPS_OF_ONE: usize = 4;

/// What is the same for all arms.
#[derive(Clone, Debug)]
pub struct Settings {
    /// New tokens of a request, at most.
    pub max_new: usize,
    pub temperature: f32,
    pub draft_len: DraftLen,
    /// Of the arms that learn beforehand, and online.
    pub training: Training,
    pub online: OnlineSettings,
    /// Times that the arms which learn beforehand take each lesson, and lessons of a step.
    pub epochs: usize,
    pub batch: usize,
}

/// A request of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub domain: usize,
    pub prompt: Vec<u32>,
}

/// An arm on a stream.
#[derive(Clone, Debug)]
pub struct Run {
    /// The stream's name.
    pub name: String,
    pub stream: Stream,
    pub arm: Kind,
    pub seed: u64,
    pub rows: Vec<Row>,
    /// Answers that are not plain decoding's; `None` where tokens are drawn, or for plain decoding itself.
    pub differing: Option<usize>,
    pub updates: Updates,
}

/// Serves `items`; their rows and answers.
fn serve(
    arm: &mut dyn Arm,
    items: &[Item],
    requests: &[Request],
    progress: &mut dyn FnMut(),
) -> Result<(Vec<Row>, Vec<Vec<u32>>)> {
    let (mut rows, mut answers) = (Vec::new(), Vec::new());
    for (item, request) in items.iter().zip(requests) {
        let answer = arm.serve(item.domain, &item.prompt, request)?;
        let stats = &answer.stats;
        rows.push(Row {
            domain: item.domain,
            tokens: stats.tokens,
            rounds: stats.rounds,
            proposed: stats.proposed,
            accepted: stats.accepted,
            overlap: answer.overlap,
            seconds: stats.seconds,
            update_seconds: answer.update_seconds,
        });
        answers.push(answer.tokens);
        progress();
    }
    Ok((rows, answers))
}

/// A target, the draft that every arm begins with, and what is the same for all arms.
pub struct Experiment {
    pub target: Arc<Language>,
    pub draft: Arc<Language>,
    pub settings: Settings,
}

impl Experiment {
    fn request(&self, seed: u64, draft_len: DraftLen) -> Request {
        Request {
            max_new: self.settings.max_new,
            sampling: Sampling {
                temperature: self.settings.temperature,
                seed,
                ..Sampling::greedy()
            },
            draft_len,
            stop: self.target.config().eos().to_vec(),
            check: false,
        }
    }

    /// The distributions that a draft learns from are those that tokens are drawn from; greedy ones have no gradient
    /// worth having, so that those at temperature 1 stand for them.
    fn teaching_temperature(&self) -> f32 {
        match self.settings.temperature > 0.0 {
            true => self.settings.temperature,
            false => 1.0,
        }
    }

    /// Room for every request of `items`, in few sizes.
    pub fn positions(&self, items: &[Item]) -> usize {
        let longest = items.iter().map(|i| i.prompt.len()).max().unwrap_or(0);
        (longest + self.settings.max_new).next_multiple_of(64)
    }

    /// Whether `arms` need the answers of plain decoding: as such, to distil drafts on, or to compare theirs with.
    pub fn needs_plain(&self, arms: &[Kind]) -> bool {
        let taught = |k: &Kind| matches!(k, Kind::Plain | Kind::Tenth | Kind::Offline);
        !arms.is_empty() && (self.settings.temperature == 0.0 || arms.iter().any(taught))
    }

    /// Every one of `arms` on `items`, in the order of [`Kind::ALL`]; plain decoding first wherever its answers are
    /// needed. `progress` is called after every request, `done` with every arm's run as soon as it is there.
    ///
    /// # Errors
    /// What serving, training and `done` return.
    pub fn run(
        &self,
        (name, stream): (&str, Stream),
        items: &[Item],
        arms: &[Kind],
        seed: u64,
        progress: &mut dyn FnMut(Kind),
        done: &mut dyn FnMut(Run) -> Result<()>,
    ) -> Result<()> {
        let positions = self.positions(items);
        let room = Room::of(positions);
        let seeds = |i: usize| seed.wrapping_mul(1_000_003).wrapping_add(i as u64);
        let requests = |draft_len| -> Vec<Request> {
            (0..items.len())
                .map(|i| self.request(seeds(i), draft_len))
                .collect()
        };
        let run = |arm, rows, differing, updates| Run {
            name: name.into(),
            stream,
            arm,
            seed,
            rows,
            differing,
            updates,
        };
        let mut answers = Vec::new();
        if self.needs_plain(arms) {
            let mut plain = Fixed::new(&self.target, None, room)?;
            let requests = requests(DraftLen::Off);
            let (rows, own) = serve(&mut plain, items, &requests, &mut || progress(Kind::Plain))?;
            answers = own;
            if arms.contains(&Kind::Plain) {
                done(run(Kind::Plain, rows, None, Updates::default()))?;
            }
        }
        let greedy = self.settings.temperature == 0.0;
        let drafted = requests(self.settings.draft_len);
        for kind in Kind::ALL {
            if kind == Kind::Plain || !arms.contains(&kind) || !kind.serves(stream) {
                continue;
            }
            // A distilled draft's files are there as long as it serves.
            let made;
            let mut arm: Box<dyn Arm> = match kind {
                Kind::Tenth | Kind::Offline => {
                    let step = if kind == Kind::Tenth { 10 } else { 1 };
                    let mut lessons = self.lessons(items, &answers, step, positions)?;
                    made = drafts::distilled(&self.draft, &mut lessons, &self.schooling(seed))?.0;
                    Box::new(Fixed::new(&self.target, Some(&made.draft), room)?)
                }
                Kind::Online8 | Kind::Online1 => {
                    let steps = self.settings.online.steps;
                    let (interval, steps) = match kind {
                        Kind::Online1 => (1, steps.div_ceil(STEPS_OF_ONE)),
                        _ => (8, steps),
                    };
                    let settings = OnlineSettings {
                        interval,
                        steps,
                        ..self.settings.online.clone()
                    };
                    Box::new(Learning::new(&self.target, &self.draft, settings, room)?)
                }
                Kind::Routed => {
                    let settings = OnlineSettings {
                        interval: 8,
                        ..self.settings.online.clone()
                    };
                    Box::new(Routed::new(&self.target, &self.draft, settings, room)?)
                }
                Kind::Plain | Kind::Static => {
                    Box::new(Fixed::new(&self.target, Some(&self.draft), room)?)
                }
            };
            let (rows, own) = serve(&mut *arm, items, &drafted, &mut || progress(kind))?;
            let differing = own.iter().zip(&answers).filter(|(a, b)| a != b).count();
            let differing = greedy.then_some(differing);
            done(run(kind, rows, differing, arm.updates()))?;
        }
        Ok(())
    }

    fn schooling(&self, seed: u64) -> Schooling {
        Schooling {
            settings: self.settings.training.clone(),
            epochs: self.settings.epochs,
            batch: self.settings.batch,
            steps: usize::MAX,
            rows: self.settings.max_new.next_multiple_of(8),
            seed,
        }
    }

    /// The target's answers to every `step`th of `items`.
    fn lessons(
        &self,
        items: &[Item],
        answers: &[Vec<u32>],
        step: usize,
        positions: usize,
    ) -> Result<Texts> {
        let mut texts = Texts::new(&self.target, positions, self.teaching_temperature())?;
        for (item, answer) in items.iter().zip(answers).step_by(step) {
            texts.push_answered(&item.prompt, answer);
        }
        Ok(texts)
    }

    /// A draft of the same sizes that knows nothing but what `steps` steps on `texts` have taught it.
    ///
    /// # Errors
    /// As [`Experiment::run`].
    pub fn begun(&self, texts: &[Vec<u32>], steps: usize, seed: u64) -> Result<drafts::Made> {
        let fresh = drafts::fresh(&self.draft, seed)?;
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        let mut lessons = Texts::new(&self.target, longest.clamp(2, 128), 1.0)?;
        for text in texts {
            lessons.push_text(text);
        }
        if steps == 0 || lessons.sequences() == 0 {
            return Ok(fresh);
        }
        let batch = self.settings.batch.min(lessons.sequences());
        let schooling = Schooling {
            epochs: (steps * batch).div_ceil(lessons.sequences()),
            steps,
            rows: 256,
            ..self.schooling(seed)
        };
        Ok(drafts::distilled(&fresh.draft, &mut lessons, &schooling)?.0)
    }
}
