//! The plans of a round, and the states that target and draft share.

use super::model::Room;
use super::request::Sampling;
use super::runner::Runner;
use super::watch::Watch;
use crate::device::{Executable, Store};
use crate::error::Result;
use crate::graph::{Finished, Graph, Value};
use crate::kernels::sample::{DRAFT_FAULT, SETTINGS, accept};
use crate::models::language::{Cached, SLACK};
use crate::ops::{self, Sampler, outcome_len};
use crate::tensor::DType;
use std::sync::Arc;

/// The most proposals of a round: with the token before them, as many rows as a product with few rows takes.
pub const KMAX: usize = 15;

/// The state that is read back after a round.
pub const OUTCOME: &str = "outcome";

/// Plans of a target: rounds by their proposals, whether those have distributions, and what is kept.
pub(super) type Verify = (usize, bool, Option<Watch>);

/// Plans of a draft: runs by their rows.
pub(super) type DraftRun = usize;

/// Makes the states of a sequence of a target.
pub(super) fn make_states(store: &Store, vocab: usize, room: Room) -> Result<()> {
    store.make("history", DType::U32, room.positions + SLACK)?;
    store.make("start", DType::U32, 1)?;
    store.make("draft_start", DType::U32, 1)?;
    store.make("settings", DType::U32, SETTINGS)?;
    store.make("fault", DType::U32, 1)?;
    store.make("q", DType::F32, KMAX * vocab)?;
    store.make(OUTCOME, DType::U32, outcome_len(KMAX))
}

/// The state of the distributions that are kept of a target, and that of the rows there that a round's go to.
pub(super) const KEPT: &str = "kept";
pub(super) const KEPT_SLOTS: &str = "kept_slots";

/// Makes the states of what is kept of verifications.
pub(super) fn make_watch(store: &Store, vocab: usize, rows: usize) -> Result<()> {
    store.make(KEPT, DType::F32, rows.max(1) * vocab)?;
    store.make(KEPT_SLOTS, DType::U32, KMAX + 1)
}

/// Makes the states of the draft's sequence, which are the target's.
pub(super) fn share_states(draft: &Store, target: &Store) -> Result<()> {
    draft.share("start", target, "draft_start")?;
    draft.share("target_start", target, "start")?;
    for name in SAME {
        draft.share(name, target, name)?;
    }
    Ok(())
}

/// The states of a target that its draft has under the same name.
const SAME: [&str; 4] = ["history", "settings", "fault", "q"];

/// Bytes of the states of a draft that are the target's.
pub(super) fn shared_bytes(draft: &Store) -> u64 {
    let both = ["start", "target_start"].into_iter().chain(SAME);
    let of = |name| {
        draft
            .kind(name)
            .map_or(0, |(dtype, len)| dtype.bytes() * len)
    };
    both.map(of).sum::<usize>() as u64
}

/// Tells the kernels how tokens are drawn.
pub(super) fn write_settings(store: &Store, sampling: &Sampling) -> Result<()> {
    store.write("settings", 0, &sampling.words())?;
    store.write("fault", 0, &[0])
}

fn sampler<'g>(g: &'g Graph, history: Value<'g>, vocab: usize, starts: [&str; 2]) -> Sampler<'g> {
    let state = |name, len| g.state(name, &[len], DType::U32);
    Sampler {
        history,
        target_start: state(starts[0], 1),
        draft_start: state(starts[1], 1),
        settings: state("settings", SETTINGS),
        fault: state("fault", 1),
        q: g.state("q", &[KMAX, vocab], DType::F32),
    }
}

/// The runs of a draft that propose `proposals` tokens, at least one. The first takes the last two tokens, as keys and
/// values of the one before the last are missing where all proposals were accepted; only the last where it is
/// `single`.
pub(super) fn propose(
    draft: &mut Runner<DraftRun>,
    proposals: usize,
    single: bool,
) -> Result<Vec<Arc<Executable>>> {
    let mut runs = vec![step(draft, if single { 1 } else { 2 })?];
    for _ in 1..proposals {
        runs.push(step(draft, 1)?);
    }
    Ok(runs)
}

fn step(draft: &mut Runner<DraftRun>, rows: usize) -> Result<Arc<Executable>> {
    draft.plan(rows, |runner| {
        runner
            .model
            .load(&runner.store, &propose_graph(runner, rows)?)
    })
}

/// The run of a draft that takes `rows` tokens and proposes one.
pub(super) fn propose_graph(draft: &Runner<DraftRun>, rows: usize) -> Result<Finished> {
    let cached = draft.cached(rows);
    let vocab = draft.model.config().vocab();
    draft.model.graph(&cached, |g, logits| {
        let history = cached.history(g);
        let sampler = sampler(g, history, vocab, ["target_start", "start"]);
        g.output("q", sampler.propose(logits));
    })
}

/// The run of a target that verifies `proposals` tokens and draws one more.
pub(super) fn verify(
    target: &mut Runner<Verify>,
    proposals: usize,
    one_hot: bool,
    watch: Option<Watch>,
) -> Result<Arc<Executable>> {
    let kind = (proposals, one_hot, watch);
    target.plan(kind, |runner| {
        runner
            .model
            .load(&runner.store, &verify_graph(runner, kind)?)
    })
}

/// The run of a target of this kind.
pub(super) fn verify_graph(target: &Runner<Verify>, kind: Verify) -> Result<Finished> {
    let (proposals, one_hot, watch) = kind;
    let cached = target.cached(proposals + 1);
    let vocab = target.model.config().vocab();
    (target.model).graph(&cached, |g, l| judge(g, l, &cached, vocab, one_hot, watch))
}

/// Whose logits were NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Target,
    Draft,
}

/// Writes what a round makes of its `logits`: proposals accepted, and one more token.
pub(super) fn judge<'g>(
    g: &'g Graph,
    logits: Value<'g>,
    cached: &Cached,
    vocab: usize,
    one_hot: bool,
    watch: Option<Watch>,
) {
    let history = cached.history(g);
    let sampler = sampler(g, history, vocab, ["start", "draft_start"]);
    let outcome = g.state(OUTCOME, &[outcome_len(KMAX)], DType::U32);
    let watch = watch.map(|w| ops::Watch {
        kept: g.state(KEPT, &[w.rows.max(1), vocab], DType::F32),
        slots: g.state(KEPT_SLOTS, &[KMAX + 1], DType::U32),
        all: w.all,
    });
    g.output(OUTCOME, sampler.verify(logits, one_hot, outcome, watch));
}

/// What a round brought, as the device tells it.
pub(super) struct Outcome {
    pub accepted: usize,
    /// Whose logits were not all finite.
    pub fault: Fault,
    pub tokens: Vec<u32>,
    /// Σ min(p, q) of each proposal that had a distribution, where it was watched.
    pub overlaps: Vec<f32>,
}

impl Outcome {
    pub fn of(words: &[u32]) -> Self {
        let count = words[1] as usize;
        Self {
            accepted: words[0] as usize,
            fault: match words[3] {
                0 => Fault::None,
                DRAFT_FAULT => Fault::Draft,
                _ => Fault::Target,
            },
            tokens: words[4..].iter().copied().take(count).collect(),
            overlaps: (words[accept::outcome_len(KMAX)..].iter())
                .map(|&w| f32::from_bits(w))
                .collect(),
        }
    }
}
