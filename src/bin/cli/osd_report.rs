//! What `osd` leaves: a CSV of each run, a summary, and the table of criteria.

use cascadia::device::Device;
use cascadia::engine::osd::scores::{last, mean, moving};
use cascadia::engine::osd::{Criterion, Experiment, Kind, Measure, Row, Run, Stream, Updates};
use cascadia::io::write_atomically;
use cascadia::{Error, Result};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The columns of a CSV.
const COLUMNS: &str = "request,domain,tokens,rounds,proposed,accepted,acceptance,acceptance_window,overlap,overlap_window,\
                       tokens_per_round,tokens_per_second,seconds,update_seconds\n";

/// Of a run's figures, how many answers are not plain decoding's.
const DIFFERING: &str = "answers_that_differ_from_plain";

/// Where results go, and those that there are.
pub struct Report {
    folder: PathBuf,
    domains: Vec<String>,
    device: String,
    /// What every run was done with.
    settings: Value,
    runs: Vec<Run>,
}

/// A number, or nothing.
fn cell(value: Option<f64>) -> String {
    value.map_or(String::new(), |v| format!("{v:.6}"))
}

/// Writes `text` to `path`, whole or not at all.
pub fn write(path: &Path, text: &str) -> Result<()> {
    write_atomically(path, |file| file.write_all(text.as_bytes()))
}

fn object(path: &Path, text: serde_json::Result<String>) -> Result<()> {
    let text = text.map_err(|e| Error::file(path, e.to_string()))?;
    write(path, &(text + "\n"))
}

impl Report {
    /// Of `experiment`, whose draft began with so many steps where it is a fresh one.
    pub fn new(
        folder: &Path,
        domains: &[String],
        device: &Device,
        fresh: Option<usize>,
        experiment: &Experiment,
    ) -> Self {
        let settings = &experiment.settings;
        let draft = match fresh {
            Some(steps) => format!("fresh, {steps} steps of warm-up"),
            None => experiment.draft.name(),
        };
        Self {
            folder: folder.to_path_buf(),
            domains: domains.to_vec(),
            device: device.name().to_string(),
            settings: json!({
                "target": experiment.target.name(),
                "draft": draft,
                "max_new": settings.max_new,
                "temperature": settings.temperature,
                "draft_len": format!("{:?}", settings.draft_len),
                "training": format!("{:?}", settings.training),
                "online": format!("{:?}", settings.online),
                "epochs": settings.epochs,
                "batch": settings.batch,
            }),
            runs: Vec::new(),
        }
    }

    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    fn path(&self, name: &str, arm: Kind, seed: u64, ending: &str) -> PathBuf {
        let file = format!("{name}.{}.seed{seed}.{ending}", arm.name());
        self.folder.join(file)
    }

    /// Adds a run, and writes its requests as a CSV, with means over the last `window`, and its figures.
    pub fn add(&mut self, run: Run, window: usize) -> Result<()> {
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
        write(&self.path(&run.name, run.arm, run.seed, "csv"), &text)?;
        // Last: where it is there, the run is whole.
        let mut figures = figures_of(&run);
        figures["settings"] = self.settings.clone();
        figures["rows"] = run.rows.iter().map(packed).collect();
        let path = self.path(&run.name, run.arm, run.seed, "json");
        object(&path, serde_json::to_string(&figures))?;
        self.runs.push(run);
        Ok(())
    }

    /// Takes all runs that the folder has of a stream; those of `arms` that it lacks.
    pub fn take_up(
        &mut self,
        (name, stream): (&str, Stream),
        arms: &[Kind],
        seed: u64,
        requests: usize,
    ) -> Result<Vec<Kind>> {
        let mut left = Vec::new();
        for arm in Kind::ALL {
            let path = self.path(name, arm, seed, "json");
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    left.extend(arms.iter().find(|a| **a == arm));
                    continue;
                }
                Err(e) => return Err(Error::io(&path)(e)),
            };
            let of = serde_json::from_str::<Value>(&text).ok();
            let same = |of: &Value| of["settings"] == self.settings;
            let rows = of.as_ref().filter(|of| same(of)).and_then(unpacked);
            let Some((of, rows)) = of.zip(rows.filter(|rows| rows.len() == requests)) else {
                let message = "is of other settings; name another folder, or leave --resume out";
                return Err(Error::file(path, message));
            };
            let count = |key: &str| of[key].as_u64().unwrap_or(0) as usize;
            self.runs.push(Run {
                name: name.into(),
                stream,
                arm,
                seed,
                rows,
                differing: (of[DIFFERING].as_u64()).map(|n| n as usize),
                updates: Updates {
                    stand: count("updates"),
                    rolled_back: count("updates_rolled_back"),
                    rejected_steps: count("steps_rejected"),
                    rows: count("rows_learned"),
                },
            });
        }
        Ok(left)
    }

    /// summary.json.
    pub fn summary(
        &self,
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
            "settings": self.settings,
            "measure": measure.name(),
            "runs": self.runs.iter().map(figures_of).collect::<Vec<_>>(),
            "criteria": criteria,
            "figures": figures,
        });
        let path = self.folder.join("summary.json");
        object(&path, serde_json::to_string_pretty(&summary))
    }
}

/// What a request was, as numbers in a row.
fn packed(row: &Row) -> Value {
    json!([
        row.domain,
        row.tokens,
        row.rounds,
        row.proposed,
        row.accepted,
        row.overlap,
        row.seconds,
        row.update_seconds
    ])
}

/// The requests of a run that [`Report::add`] wrote.
fn unpacked(run: &Value) -> Option<Vec<Row>> {
    let one = |row: &Value| {
        let whole = |i: usize| row[i].as_u64().map(|n| n as usize);
        Some(Row {
            domain: whole(0)?,
            tokens: whole(1)?,
            rounds: whole(2)?,
            proposed: whole(3)?,
            accepted: whole(4)?,
            overlap: row[5].as_f64(),
            seconds: row[6].as_f64()?,
            update_seconds: row[7].as_f64()?,
        })
    };
    run["rows"].as_array()?.iter().map(one).collect()
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
        DIFFERING: run.differing,
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

/// What learning brought, a line for each stream that one domain or another ends: acceptance of its last quarter's
/// requests, each served before anything was learned from it, by the draft as it was and by the one that learns.
pub fn gains(runs: &[Run], measure: Measure) -> Vec<String> {
    let end = |name: &str, arm: Kind| {
        let of = |r: &&Run| r.name == name && r.arm == arm;
        let all: Vec<_> = (runs.iter().filter(of))
            .map(|r| mean(last(&measure.scores(&r.rows))))
            .collect();
        mean(&all)
    };
    let mut names: Vec<&str> = Vec::new();
    for run in runs {
        if !names.contains(&run.name.as_str()) {
            names.push(&run.name);
        }
    }
    let line = |name: &&str| {
        let before = end(name, Kind::Static)?;
        let online = [Kind::Online8, Kind::Online1];
        let (arm, after) = online.into_iter().find_map(|a| Some((a, end(name, a)?)))?;
        Some(format!(
            "{name}: acceptance {before:.3} before, {after:.3} after learning from the requests themselves ({})",
            arm.name()
        ))
    };
    names.iter().filter_map(line).collect()
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
