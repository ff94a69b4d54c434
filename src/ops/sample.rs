//! From logits to tokens: the proposals of a draft, and their verification by the target (section 1.1 of "Online
//! Speculative Decoding", arXiv 2310.07177). Both change the states of a sequence.

use crate::error::Result;
use crate::graph::{Lower, Op, Value};
use crate::kernels::sample::{accept, draw, keep, overlap, transform};
use crate::tensor::DType;

/// The states of a sequence that tokens are drawn with, all u32 but `q`.
#[derive(Clone, Copy)]
pub struct Sampler<'g> {
    /// Token ids by position.
    pub history: Value<'g>,
    /// [1] the position of the target's next row.
    pub target_start: Value<'g>,
    /// [1] that of the draft's.
    pub draft_start: Value<'g>,
    /// [8] how tokens are drawn.
    pub settings: Value<'g>,
    /// [1] what was wrong with logits.
    pub fault: Value<'g>,
    /// f32 [slots, vocabulary]: what the round's proposals were drawn from.
    pub q: Value<'g>,
}

/// What is kept of a verification, to be measured and learned from.
#[derive(Clone, Copy)]
pub struct Watch<'g> {
    /// f32 [rows, vocabulary]: the target's distributions.
    pub kept: Value<'g>,
    /// u32 [slots + 1]: rows of `kept` that the round's go to; one beyond it for none.
    pub slots: Value<'g>,
    /// The rows of accepted proposals are kept, too, not only the one of the token after them.
    pub all: bool,
}

impl<'g> Sampler<'g> {
    /// Draws one token from the last row of the draft's `logits` [rows, vocabulary] and puts it into the history.
    #[track_caller]
    pub fn propose(&self, logits: Value<'g>) -> Value<'g> {
        let inputs = [
            logits,
            self.history,
            self.draft_start,
            self.target_start,
            self.settings,
            self.fault,
            self.q,
        ];
        logits.graph().apply(Propose, &inputs)
    }

    /// Verifies the proposals in the history by the target's `logits` [proposals + 1, vocabulary], one of which stands
    /// after each; without `one_hot` they were drawn from the rows of `q`. `outcome` gets what is accepted, and after it,
    /// where there is a `watch` and they were, f32 Σ min(p, q) of each proposal.
    #[track_caller]
    pub fn verify(
        &self,
        logits: Value<'g>,
        one_hot: bool,
        outcome: Value<'g>,
        watch: Option<Watch<'g>>,
    ) -> Value<'g> {
        let mut inputs = vec![
            logits,
            self.history,
            self.target_start,
            self.draft_start,
            self.settings,
            self.fault,
            self.q,
            outcome,
        ];
        if let Some(watch) = watch {
            inputs.extend([watch.kept, watch.slots]);
        }
        let keep = watch.map(|w| w.all);
        logits.graph().apply(VerifyOp { one_hot, keep }, &inputs)
    }
}

/// Inputs: logits, last, slots, kept.
#[derive(Debug)]
struct Keep {
    sharpness: f32,
}

impl Op for Keep {
    fn name(&self) -> &'static str {
        "keep"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        same_vocabulary(inputs[0], inputs[3])
    }

    fn in_place(&self) -> Option<usize> {
        Some(3)
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let shape = keep::Shape {
            rows: lower.shape_of(0, 0),
            vocab: lower.shape_of(0, 1),
            ring: lower.shape_of(3, 0),
            all: true,
            sharpness: self.sharpness,
        };
        let binds = keep::Binds {
            logits: lower.contiguous(0)?,
            outcome: lower.strided(1)?.0,
            slots: lower.strided(2)?.0,
            kept: lower.strided(3)?.0,
        };
        lower.memory.push(keep::dispatch(shape, binds, lower.caps));
        Ok(true)
    }
}

impl<'g> Value<'g> {
    /// Of logits [rows, vocabulary], softmax(logits / temperature) of rows 0 to `last` u32 [1], as many as there are,
    /// into the rows of the state `kept` f32 [ring, vocabulary] that `slots` u32 [at least rows] names; one beyond it
    /// names none. The result is `kept`.
    #[track_caller]
    pub fn keep(
        self,
        last: Value<'g>,
        slots: Value<'g>,
        kept: Value<'g>,
        temperature: f32,
    ) -> Value<'g> {
        let sharpness = 1.0 / temperature;
        let inputs = [self, last, slots, kept];
        self.graph().apply(Keep { sharpness }, &inputs)
    }
}

/// Inputs: logits, history, draft_start, target_start, settings, fault, q.
#[derive(Debug)]
struct Propose;

impl Op for Propose {
    fn name(&self) -> &'static str {
        "propose"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        same_vocabulary(inputs[0], inputs[6])
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let [rows, vocab] = [lower.shape_of(0, 0), lower.shape_of(0, 1)];
        let [slots, stride] = [lower.shape_of(6, 0), lower.shape_of(1, 0)];
        let logits = lower.contiguous(0)?;
        let state = |lower: &mut Lower<'_>, i| Ok::<_, crate::Error>(lower.strided(i)?.0);
        let history = state(lower, 1)?;
        let start = state(lower, 2)?;
        let base = state(lower, 3)?;
        let settings = state(lower, 4)?;
        let fault = state(lower, 5)?;
        let q = state(lower, 6)?;
        let shape = transform::Shape {
            batch: 1,
            rows,
            vocab,
            slots,
            ahead: 1,
            stride,
            draft: true,
        };
        let binds = transform::Binds {
            logits,
            history,
            start,
            base,
            settings,
            fault,
            p: q,
        };
        lower
            .memory
            .push(transform::dispatch(shape, binds, lower.caps));
        let shape = draw::Shape {
            batch: 1,
            vocab,
            slots,
            stride,
            ahead: rows,
        };
        let binds = draw::Binds {
            q,
            settings,
            base,
            history,
            start,
        };
        lower.memory.push(draw::dispatch(shape, binds, lower.caps));
        // The result is the state `q`, seen as what it is.
        Ok(true)
    }

    fn in_place(&self) -> Option<usize> {
        Some(6)
    }
}

/// Words of the state that a verification's outcome goes to.
pub const fn outcome_len(slots: usize) -> usize {
    accept::outcome_len(slots) + slots
}

/// Inputs: logits, history, target_start, draft_start, settings, fault, q, outcome, and of a watch kept and slots.
#[derive(Debug)]
struct VerifyOp {
    one_hot: bool,
    /// Of a watch, whether it is of all rows.
    keep: Option<bool>,
}

impl Op for VerifyOp {
    fn name(&self) -> &'static str {
        "verify"
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        same_vocabulary(inputs[0], inputs[6])?;
        let slots = inputs[6][0];
        if inputs[0][0] > slots + 1 || inputs[7] != [outcome_len(slots)] {
            return Err(format!("logits {:?}, outcome {:?}", inputs[0], inputs[7]));
        }
        Ok(inputs[7].to_vec())
    }

    fn in_place(&self) -> Option<usize> {
        Some(7)
    }

    fn lower(&self, lower: &mut Lower<'_>) -> Result<bool> {
        let [rows, vocab] = [lower.shape_of(0, 0), lower.shape_of(0, 1)];
        let [slots, stride] = [lower.shape_of(6, 0), lower.shape_of(1, 0)];
        let logits = lower.contiguous(0)?;
        let state = |lower: &mut Lower<'_>, i| Ok::<_, crate::Error>(lower.strided(i)?.0);
        let history = state(lower, 1)?;
        let start = state(lower, 2)?;
        let draft_start = state(lower, 3)?;
        let settings = state(lower, 4)?;
        let fault = state(lower, 5)?;
        let p = lower.memory.scratch_as(DType::F32, rows * vocab);
        let drafted = rows > 1 && !self.one_hot;
        let q = if drafted { state(lower, 6)? } else { p };
        let outcome = state(lower, 7)?;
        let shape = transform::Shape {
            batch: 1,
            rows,
            vocab,
            slots: rows,
            ahead: 1,
            stride,
            draft: false,
        };
        let binds = transform::Binds {
            logits,
            history,
            start,
            base: start,
            settings,
            fault,
            p,
        };
        lower
            .memory
            .push(transform::dispatch(shape, binds, lower.caps));
        let shape = accept::Shape {
            batch: 1,
            vocab,
            slots,
            draft_len: rows - 1,
            stride,
            one_hot: self.one_hot,
        };
        let binds = accept::Binds {
            p,
            q,
            settings,
            history,
            start,
            draft_start,
            fault,
            outcome,
        };
        lower
            .memory
            .push(accept::dispatch(shape, binds, lower.caps));
        let Some(all) = self.keep else {
            return Ok(true);
        };
        if drafted {
            let binds = overlap::Binds {
                p,
                q,
                overlap: outcome,
            };
            let first = accept::outcome_len(slots);
            let done = overlap::dispatch(rows - 1, vocab, first, binds, lower.caps);
            lower.memory.push(done);
        }
        let ring = lower.shape_of(8, 0);
        let (kept, to) = (state(lower, 8)?, state(lower, 9)?);
        let shape = keep::Shape {
            rows,
            vocab,
            ring,
            all,
            sharpness: 1.0,
        };
        let binds = keep::Binds {
            logits,
            outcome,
            slots: to,
            kept,
        };
        lower.memory.push(keep::dispatch(shape, binds, lower.caps));
        Ok(true)
    }
}

fn same_vocabulary(logits: &[usize], q: &[usize]) -> Result<Vec<usize>, String> {
    match (logits, q) {
        ([_, v], [_, of_q]) if v == of_q => Ok(q.to_vec()),
        _ => Err(format!("logits {logits:?}, distributions {q:?}")),
    }
}
