//! What `osd` leaves: a CSV of each run, a summary, and the table of criteria.

use cascadia::device::Device;
use cascadia::engine::osd::scores::{last, mean, moving};
use cascadia::engine::osd::{Criterion, Measure, Row, Run, Settings};
use cascadia::io::write_atomically;
use cascadia::{Error, Result};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The columns of a CSV.
const COLUMNS: &str = "request,domain,tokens,rounds,proposed,accepted,acceptance,acceptance_window,overlap,overlap_window,\
                       tokens_per_round,tokens_per_second,seconds,update_seconds\n";

/// Where results go.
pub struct Report {
    folder: PathBuf,
    domains: Vec<String>,
    device: String,
}

/// A number, or nothing.
fn cell(value: Option<f64>) -> String {
    value.map_or(String::new(), |v| format!("{v:.6}"))
}

/// Writes `text` to `path`, whole or not at all.
pub fn write(path: &Path, text: &str) -> Result<()> {
    write_atomically(path, |file| file.write_all(text.as_bytes()))
}

impl Report {
    pub fn new(folder: &Path, domains: &[String], device: &Device) -> Self {
        Self {
            folder: folder.to_path_buf(),
            domains: domains.to_vec(),
            device: device.name().to_string(),
        }
    }

    /// The requests of a run, with means over the last `window`.
    pub fn csv(&self, run: &Run, window: usize) -> Result<()> {
        let accepted = moving(&Measure::Acceptance.scores(&run.rows), window);
        let overlaps = moving(&Measure::Overlap.scores(&run.rows), window);
        let mut text = COLUMNS.to_string();
        for (i, row) in run.rows.iter().enumerate() {
            let _ = writeln!(
                text,
                "{i},{},{},{},{},{},{},{},{},{},{:.4},{:.2},{:.6},{:.6}",
                quoted(&self.domains[row.domain]),
                row.tokens,
                row.rounds,
                row.proposed,
                row.accepted,
                cell(row.acceptance()),
                cell(accepted[i]),
                cell(row.overlap),
                cell(overlaps[i]),
                row.tokens_per_round(),
                row.tokens_per_second(),
                row.seconds,
                row.update_seconds
            );
        }
        let name = format!("{}.{}.seed{}.csv", run.name, run.arm.name(), run.seed);
        write(&self.folder.join(name), &text)
    }

    /// summary.json.
    pub fn summary(
        &self,
        fresh: bool,
        settings: &Settings,
        runs: &[Run],
        measure: Measure,
        criteria: &[Criterion],
        figures: &[String],
    ) -> Result<()> {
        let criteria: Vec<Value> = (criteria.iter())
            .map(|c| json!({ "criterion": c.what, "measured": c.measured, "holds": c.holds }))
            .collect();
        let summary = json!({
            "device": self.device,
            "domains": self.domains,
            "fresh_draft": fresh,
            "max_new": settings.max_new,
            "temperature": settings.temperature,
            "draft_len": format!("{:?}", settings.draft_len),
            "training": format!("{:?}", settings.training),
            "online": format!("{:?}", settings.online),
            "epochs": settings.epochs,
            "batch": settings.batch,
            "measure": measure.name(),
            "runs": runs.iter().map(figures_of).collect::<Vec<_>>(),
            "criteria": criteria,
            "figures": figures,
        });
        let text = serde_json::to_string_pretty(&summary)
            .map_err(|e| Error::file(&self.folder, e.to_string()))?;
        write(&self.folder.join("summary.json"), &(text + "\n"))
    }
}

/// A CSV field.
fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_string(),
    }
}

/// What stands for a run in the summary.
fn figures_of(run: &Run) -> Value {
    let sum = |of: fn(&Row) -> f64| run.rows.iter().map(of).sum::<f64>();
    let (seconds, updates) = (sum(|r| r.seconds), sum(|r| r.update_seconds));
    let of = |measure: Measure| {
        let all = measure.scores(&run.rows);
        let quarter = all.len().div_ceil(4);
        json!({ "mean": mean(&all), "first_quarter": mean(&all[..quarter]), "last_quarter": mean(last(&all)) })
    };
    json!({
        "stream": run.name,
        "arm": run.arm.name(),
        "seed": run.seed,
        "requests": run.rows.len(),
        "acceptance": of(Measure::Acceptance),
        "overlap": of(Measure::Overlap),
        "tokens": sum(|r| r.tokens as f64),
        "tokens_per_round": sum(|r| r.tokens as f64) / sum(|r| r.rounds as f64).max(1.0),
        "tokens_per_second": sum(|r| r.tokens as f64) / seconds.max(1e-9),
        "seconds": seconds,
        "update_seconds": updates,
        "update_share": updates / seconds.max(1e-9),
        "updates": run.updates.stand,
        "updates_rolled_back": run.updates.rolled_back,
        "steps_rejected": run.updates.rejected_steps,
        "rows_learned": run.updates.rows,
        "answers_that_differ_from_plain": run.differing,
    })
}

/// A run in a line.
pub fn line(run: &Run) -> String {
    let sum = |of: fn(&Row) -> f64| run.rows.iter().map(of).sum::<f64>();
    let show = |measure: Measure| {
        let all = measure.scores(&run.rows);
        let end = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.3}"));
        format!(
            "{} → {}",
            end(mean(&all[..all.len().div_ceil(4)])),
            end(mean(last(&all)))
        )
    };
    format!(
        "{:<12} {:<10} seed {}: acceptance {}, overlap {}, {:.2} tokens a round, {:.1} tokens/s, updates {:.2} s",
        run.name,
        run.arm.name(),
        run.seed,
        show(Measure::Acceptance),
        show(Measure::Overlap),
        sum(|r| r.tokens as f64) / sum(|r| r.rounds as f64).max(1.0),
        sum(|r| r.tokens as f64) / sum(|r| r.seconds).max(1e-9),
        sum(|r| r.update_seconds)
    )
}

/// The criteria, one a line.
pub fn table(criteria: &[Criterion], measure: Measure) -> String {
    let mut text = format!(
        "criterion (acceptance by {}) | measured | holds\n",
        measure.name()
    );
    for c in criteria {
        let holds = match c.holds {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "not measured",
        };
        let _ = writeln!(text, "{} | {} | {holds}", c.what, c.measured);
    }
    text
}
