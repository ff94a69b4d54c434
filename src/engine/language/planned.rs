//! What rounds cost by their plans: what the choice of draft lengths begins with, and all that it goes by where a seed is
//! to give the same text each time.

use super::plans;
use super::session::{Drafting, Session};
use crate::error::Result;
use crate::graph::Finished;
use crate::plan::Plan;
use crate::shader::Cost;

/// Proposals whose rounds are planned; costs of others lie between.
const PLANNED: [usize; 5] = [0, 1, 3, 7, plans::KMAX];

/// Rows of the draft's runs that fill its caches whose costs are planned.
const FILLS: [usize; 2] = [16, 128];

/// What takes time in a dispatch, in ms: that it is one, and its bytes or its multiply-adds, whichever take longer. Not
/// what a device takes, but in proportion.
struct Model {
    dispatch: f64,
    byte: f64,
    mac: f64,
}

/// A GPU: rounds of small models wait for their dispatches, those of large ones for memory (2 TB/s, 50 T/s).
const GPU: Model = Model {
    dispatch: 4e-3,
    byte: 5e-10,
    mac: 2e-11,
};

/// A processor, on two cores: weights are unpacked at 1 GB/s, multiplied and added at 1 G/s.
const PROCESSOR: Model = Model {
    dispatch: 0.3,
    byte: 1e-6,
    mac: 1e-6,
};

impl Model {
    fn ms(&self, plan: &Plan) -> f64 {
        let of = |cost: &Cost| {
            let bytes = (cost.read_bytes + cost.write_bytes) as f64 * self.byte;
            self.dispatch + bytes.max(cost.macs as f64 * self.mac)
        };
        plan.steps.iter().map(|s| of(&s.dispatch.cost)).sum()
    }
}

impl Session {
    /// Tells the controller what rounds cost by their plans, where it does not know.
    pub(super) fn plan_costs(&mut self) -> Result<()> {
        if self.planned || matches!(self.drafting, Drafting::None) {
            return Ok(());
        }
        let caps = self.target.model.device().caps();
        let model = if caps.software { PROCESSOR } else { GPU };
        let target = |graph: Finished| Plan::new(&graph, caps, self.target.model.options());
        let mut verify = Vec::new();
        for k in PLANNED {
            let graph = plans::verify_graph(&self.target, (k, false, None))?;
            verify.push((k, model.ms(&target(graph)?)));
        }
        let (mut step, mut fills) = (0.0, Vec::new());
        if let Drafting::Model(draft) = &self.drafting {
            let plan = |graph: Finished| Plan::new(&graph, caps, draft.model.options());
            step = model.ms(&plan(plans::propose_graph(draft, 1)?)?);
            fills.push((1, step));
            for rows in FILLS.into_iter().filter(|&r| r <= draft.room.capacity) {
                let graph = draft.model.prefill_graph(&draft.cached(rows))?;
                fills.push((rows, model.ms(&plan(graph)?)));
            }
        }
        let costs: Vec<f64> = (0..=plans::KMAX)
            .map(|k| step * k as f64 + between(&verify, k))
            .collect();
        self.controller.plan(&costs, &fills);
        self.planned = true;
        Ok(())
    }

    /// What the choice of draft lengths takes a round of `proposals` to cost, in plain steps: by the clock, as far as it
    /// was measured, or as planned.
    ///
    /// # Errors
    /// What planning returns.
    pub fn round_cost(&mut self, proposals: usize, clock: bool) -> Result<f64> {
        self.plan_costs()?;
        Ok(self.controller.cost_by(proposals, clock))
    }

    /// Whether all plans of a round were made: `verify`, and of a draft the runs that propose, the first `single`.
    pub(super) fn has_plans(&self, verify: &plans::Verify, single: bool) -> bool {
        let proposals = verify.0;
        let draft = match &self.drafting {
            Drafting::Model(draft) if proposals > 0 => {
                let first = if single { 1 } else { 2 };
                draft.has(&first) && (proposals == 1 || draft.has(&1))
            }
            _ => true,
        };
        draft && self.target.has(verify)
    }
}

/// On the lines between `points`, which go from 0 up.
fn between(points: &[(usize, f64)], k: usize) -> f64 {
    for pair in points.windows(2) {
        let [(i, a), (j, b)] = [pair[0], pair[1]];
        if k <= j {
            return a + (b - a) * (k - i) as f64 / (j - i) as f64;
        }
    }
    points.last().map_or(0.0, |p| p.1)
}
