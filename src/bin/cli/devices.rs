//! `cascadia devices`: every adapter, what it offers, and which of the kernels' faster variants it gets.

use super::common::Common;
use super::{Outcome, output};
use cascadia::device::{AdapterReport, Timestamps, adapters_as};
use cascadia::engine::support::{Support, support};
use cascadia::shader::Caps;
use cascadia::{Error, Result};
use std::fmt::Write;

#[derive(clap::Args)]
pub struct Args {}

pub fn run(common: &Common, _args: &Args) -> Result<Outcome> {
    let all = adapters_as(&common.options()?);
    let wanted = common.adapter.as_ref().map(|n| n.to_lowercase());
    let shown: Vec<&AdapterReport> = (all.iter())
        .filter(|a| {
            wanted
                .as_ref()
                .is_none_or(|n| a.name.to_lowercase().contains(n))
        })
        .collect();
    if shown.is_empty() {
        // The same words as when a command opens it.
        common.open()?;
        return Err(Error::Device("no adapter to list".into()));
    }
    let mut text = String::new();
    for (i, adapter) in shown.into_iter().enumerate() {
        let default = if i == 0 && wanted.is_none() {
            " (default)"
        } else {
            ""
        };
        text.push_str(&report(common, adapter, default));
    }
    output::print(text)?;
    Ok(Outcome::Done)
}

fn report(common: &Common, a: &AdapterReport, default: &str) -> String {
    let c = &a.caps;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<22} {value}");
    };
    line("backend", format!("{}, {}", a.backend, a.kind));
    if !a.driver.is_empty() {
        line("driver", a.driver.clone());
    }
    line("f16", yes(c.f16));
    line(
        "subgroups",
        match (c.subgroups, c.subgroup_min, c.subgroup_max) {
            (false, ..) => "no".into(),
            (true, low, high) if low == high => format!("yes, of {low}"),
            (true, low, high) => format!("yes, of {low} to {high}"),
        },
    );
    line(
        "cooperative matrices",
        match &c.coop {
            Some(m) => format!("yes, {}×{}×{} from f16 to f32", m.m, m.n, m.k),
            None => "no".into(),
        },
    );
    line("immediates", yes(c.immediates));
    line(
        "timestamps",
        match a.timestamps {
            Timestamps::None => "no: `profile` gives wall time only".into(),
            Timestamps::Passes => "around passes".into(),
            Timestamps::Dispatches => "between dispatches".into(),
        },
    );
    line("limits", limits(c));
    let kernels = match common
        .dtype(c, &a.name)
        .and_then(|d| Ok((d, support(c, d)?)))
    {
        Ok((dtype, all)) => {
            let lines: Vec<String> = all.iter().map(kernel).collect();
            let head = "in EfficientViT-M0 to M5, batches of 1 and 64, and the built-in language models, 1, 8 and 512 tokens";
            format!("  kernels in {dtype} ({head})\n{}\n", lines.join("\n"))
        }
        Err(e) => format!("  kernels                none: {e}\n"),
    };
    format!("{}{default}\n{text}{kernels}", a.name)
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.into()
}

fn limits(c: &Caps) -> String {
    let mib = |bytes: u64| match bytes >> 20 {
        n if n << 20 == bytes || n > 100 => format!("{n} MiB"),
        _ => format!("{bytes} bytes"),
    };
    format!(
        "{} invocations and {} KiB in a workgroup, {} storage buffers of {}, buffers of {}",
        c.max_invocations,
        c.max_workgroup_bytes >> 10,
        c.max_storage_buffers,
        mib(c.max_binding_bytes),
        mib(c.max_buffer_bytes)
    )
}

fn kernel(s: &Support) -> String {
    let mut notes: Vec<String> = (s.functions.iter())
        .map(|f| {
            let taken = f.taken.join(" and ");
            match &f.missed {
                None => format!("{}: {taken}", f.name),
                Some((fast, why)) if taken.is_empty() => format!("{}: not {fast} ({why})", f.name),
                Some((fast, why)) => format!("{}: {taken}, not {fast} ({why})", f.name),
            }
        })
        .collect();
    match s.unused {
        Some(why) => notes.push(why.into()),
        None if notes.is_empty() => notes.push("one variant".into()),
        None => {}
    }
    format!(
        "    {:<28} {:>4} dispatches   {}",
        s.kernel,
        s.dispatches,
        notes.join("; ")
    )
}
