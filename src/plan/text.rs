//! A plan as text: what a review reads and a snapshot keeps.

use super::{Plan, Role};
use crate::shader::Category;
use std::fmt;

impl Plan {
    /// Dispatches whose only work is to move elements: reshapes that no layout could express.
    pub fn copies(&self) -> usize {
        (self.steps.iter())
            .filter(|s| s.dispatch.category == Category::Reshape)
            .count()
    }

    /// For each category: dispatches, bytes moved, multiply-adds.
    pub fn by_category(&self) -> Vec<(Category, usize, u64, u64)> {
        (Category::ALL.into_iter())
            .map(|c| {
                let of: Vec<_> = (self.steps.iter())
                    .filter(|s| s.dispatch.category == c)
                    .map(|s| &s.dispatch.cost)
                    .collect();
                let bytes = of.iter().map(|c| c.read_bytes + c.write_bytes).sum();
                (c, of.len(), bytes, of.iter().map(|c| c.macs).sum())
            })
            .filter(|row| row.1 > 0)
            .collect()
    }
}

/// `bytes` with a unit.
pub(crate) fn human(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for port in &self.inputs {
            writeln!(
                f,
                "input  {:<12} {:?} {}",
                port.name, port.layout.shape, self.buffers[port.buffer].dtype
            )?;
        }
        let mut scope = "";
        for (i, step) in self.steps.iter().enumerate() {
            if step.scope != scope {
                scope = &step.scope;
                writeln!(f, "{scope}")?;
            }
            let d = &step.dispatch;
            let binds: Vec<String> = (d.kernel.binds.iter().zip(&d.args))
                .map(|(bind, arg)| {
                    let b = &self.buffers[arg.0];
                    match &b.role {
                        Role::Input => format!("{}=in", bind.name),
                        Role::State(name) => format!("{}={name}", bind.name),
                        Role::Constant(..) => format!("{}=w{}", bind.name, b.len),
                        Role::Slot(s) => format!("{}=s{s}", bind.name),
                    }
                })
                .collect();
            let grid = d.grid.map(|n| n.to_string()).join("x");
            writeln!(
                f,
                "{i:>4} {:<16} {} grid {grid} {} moves {} {} MMAC",
                step.op,
                d.label(),
                binds.join(" "),
                human(d.cost.read_bytes + d.cost.write_bytes),
                (d.cost.macs as f64 / 1e4).round() / 100.0,
            )?;
        }
        for port in &self.outputs {
            writeln!(
                f,
                "output {:<12} {:?} {}",
                port.name, port.layout.shape, self.buffers[port.buffer].dtype
            )?;
        }
        let cost = self.cost();
        writeln!(
            f,
            "{} dispatches, {} copies; moves {} ({} read, {} written), {:.2} MMAC",
            self.steps.len(),
            self.copies(),
            human(cost.read_bytes + cost.write_bytes),
            human(cost.read_bytes),
            human(cost.write_bytes),
            cost.macs as f64 / 1e6,
        )?;
        let states = match self.state_bytes() {
            0 => String::new(),
            bytes => format!(", {} of states", human(bytes)),
        };
        writeln!(
            f,
            "memory: {} in {} slots at most, {} of weights{states}",
            human(self.slot_bytes()),
            self.slots.len(),
            human(self.constant_bytes()),
        )
    }
}
