//! The tables that `profile` prints.

use cascadia::engine::profile::{Profile, Share};
use std::fmt::Write;

/// Milliseconds, or a dash.
pub fn ms(time: Option<f64>) -> String {
    time.map_or("-".into(), |t| format!("{t:.4}"))
}

pub fn mib(bytes: u64) -> String {
    format!("{:.3}", bytes as f64 / f64::from(1 << 20))
}

/// `part` of `whole` in percent, or a dash.
pub fn percent(part: Option<f64>, whole: Option<f64>) -> String {
    match part.zip(whole.filter(|w| *w > 0.0)) {
        Some((part, whole)) => format!("{:.1}", 100.0 * part / whole),
        None => "-".into(),
    }
}

pub fn dispatches(p: &Profile) -> String {
    let mut text = format!(
        "{:>4} {:>10} {:>6} {:>10} {:>9}  what\n",
        "", "ms", "%", "MiB", "MMAC"
    );
    let all = p.dispatches_ms();
    for (i, row) in p.dispatches.iter().enumerate() {
        let _ = writeln!(
            text,
            "{i:>4} {:>10} {:>6} {:>10} {:>9.2}  {} {} {} {}",
            ms(row.gpu_ms),
            percent(row.gpu_ms, all),
            mib(row.bytes),
            row.macs as f64 / 1e6,
            row.category.name(),
            row.scope,
            row.op,
            row.label
        );
    }
    text
}

/// The shares of every category, fused and unfused side by side.
pub fn shares(both: &[(&str, Profile); 2]) -> String {
    let mut text = format!("{:<20}", "");
    for (name, _) in both {
        let _ = write!(
            text,
            " | {name:>10} {:>10} {:>6} {:>10} {:>6}",
            "ms", "%", "MiB", "%"
        );
    }
    text.push('\n');
    let [fused, unfused] = both.each_ref().map(|(_, p)| (p, p.shares()));
    for (a, b) in fused.1.iter().zip(&unfused.1) {
        let _ = write!(text, "{:<20}", a.category.name());
        for (p, s) in [(fused.0, a), (unfused.0, b)] {
            text.push_str(&share(p, s));
        }
        text.push('\n');
    }
    let mut row = |name: &str, cell: &dyn Fn(&Profile) -> [String; 3]| {
        let _ = write!(text, "{name:<20}");
        for (_, p) in both {
            let [count, ms, mib] = cell(p);
            let _ = write!(
                text,
                " | {count:>10} {ms:>10} {:>6} {mib:>10} {:>6}",
                "", ""
            );
        }
        text.push('\n');
    };
    row("all dispatches", &|p| {
        [
            p.dispatches.len().to_string(),
            ms(p.dispatches_ms()),
            mib(p.bytes()),
        ]
    });
    row("whole plan, GPU", &|p| {
        ["".into(), ms(p.total_ms), "".into()]
    });
    row("submit to logits", &|p| {
        ["".into(), ms(Some(p.wall_ms)), "".into()]
    });
    text
}

fn share(p: &Profile, s: &Share) -> String {
    format!(
        " | {:>10} {:>10} {:>6} {:>10} {:>6}",
        s.dispatches,
        ms(s.gpu_ms),
        percent(s.gpu_ms, p.dispatches_ms()),
        mib(s.bytes),
        percent(Some(s.bytes as f64), Some(p.bytes() as f64)),
    )
}
