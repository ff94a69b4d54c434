//! A request served, and what verification yields gathered.

use super::Served;
use super::learner::Learner;
use crate::engine::language::{Request, Session, Stats};
use crate::error::Result;
use std::time::Instant;

/// What is given the new tokens as they are accepted, and what was done so far.
pub type Each<'a> = dyn FnMut(&[u32], &Stats) + 'a;

/// Serves a request in `session`, where `learner`'s draft is at work if there is one: what verification yields is
/// gathered, and its updates go on in between. `served`: seconds of serving so far, updates included.
///
/// # Errors
/// As [`Session::generate`] and [`crate::engine::language::Generation::next`]; what was kept before is gathered. What
/// training returns.
pub(super) fn serve(
    session: &mut Session,
    mut learner: Option<&mut Learner>,
    served: &mut f64,
    prompt: &[u32],
    request: &Request,
    each: &mut Each<'_>,
) -> Result<Served> {
    if learner.as_mut().is_some_and(|l| l.renewed()) {
        session.renew_draft();
    }
    let mut all = Vec::new();
    let begun = Instant::now();
    let before = learner.as_ref().map_or(0.0, |l| l.spent());
    let mut generation = session.generate(prompt, request)?;
    let done = loop {
        match generation.next() {
            Ok(Some(new)) => {
                each(&new, generation.stats());
                all.extend(new);
            }
            Ok(None) => break Ok(()),
            Err(e) => break Err(e),
        }
        let Some(learner) = &mut learner else {
            continue;
        };
        let stats = generation.stats();
        let round = stats.seconds / stats.rounds.max(1) as f64;
        let now = *served + begun.elapsed().as_secs_f64();
        if let Some(ms) = learner.allowance(now, before, round) {
            match learner.slice(ms) {
                Ok(took) => generation.set_aside(took),
                Err(e) => break Err(e),
            }
        }
    };
    let stats = generation.stats().clone();
    drop(generation);
    let mut update_seconds = 0.0;
    match learner {
        None => {
            // Nobody learns from them.
            let kept = session.take_kept();
            session.release(kept.into_iter().map(|k| k.slot));
        }
        Some(learner) => {
            learner.usual.note(&stats);
            learner.gather(session, prompt)?;
            learner.save();
            learner.start(session)?;
            update_seconds = learner.spent() - before;
            learner.in_serving(update_seconds);
        }
    }
    *served += begun.elapsed().as_secs_f64();
    done?;
    Ok(Served {
        tokens: all,
        overlap: stats.overlap(),
        stats,
        update_seconds,
    })
}
