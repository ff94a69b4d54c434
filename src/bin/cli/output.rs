//! What commands print: results on stdout, all else on stderr, nothing that panics where nobody listens.

use cascadia::error::printable;
use cascadia::io::{hub, writable};
use cascadia::{Error, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Prints `text` and a line's end to stdout. Where nobody reads it any more, as under `head`, the command ends.
pub fn print(text: impl Display) -> Result<()> {
    let text = text.to_string();
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush());
    ended(written)
}

/// Writes `text` to stdout as it is, at once. Where nobody reads it any more, the command ends.
pub fn write(text: &str) -> Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    ended(written)
}

fn ended(written: std::io::Result<()>) -> Result<()> {
    match written {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => Err(Error::io("stdout")(e)),
    }
}

/// Prints `text` to stderr, where anyone reads it, line by line as [`printable`].
pub fn note(text: impl Display) {
    let text = text.to_string();
    let lines: Vec<_> = text.lines().map(printable).collect();
    let _ = writeln!(std::io::stderr().lock(), "{}", lines.join("\n"));
}

/// A path as text.
pub fn path(path: &Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}

/// `1 picture`, `2 pictures`.
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Refuses, before any work is done for it, an output that is one of `inputs` or cannot be written.
pub fn ready(flag: &str, to: &Path, inputs: &[PathBuf]) -> Result<()> {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    if let Some(file) = real(to)
        && inputs
            .iter()
            .any(|input| real(input).as_ref() == Some(&file))
    {
        return Err(Error::Usage(format!(
            "{flag} {} is an input of this command: name another output",
            path(to)
        )));
    }
    writable(to)
}

/// The files that `--model` may read, where it names something on the disk.
pub fn files_of(model: &str) -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from(model)];
    if let Ok(entries) = std::fs::read_dir(model) {
        files.extend(entries.flatten().map(|e| e.path()));
    }
    files
}

/// `error: …`, in one line.
pub fn error(e: &Error) {
    let text = e.to_string();
    let line: Vec<&str> = text.lines().map(str::trim).collect();
    note(format_args!("error: {}", line.join(" ")));
}

/// A bar over `total` things on stderr, unseen where that is no terminal.
pub fn bar(total: u64, template: &str) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template(template);
    let bar = ProgressBar::with_draw_target(Some(total), target);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// A bar over pictures.
pub fn pictures(total: usize) -> ProgressBar {
    bar(
        total as u64,
        "{bar:32} {pos}/{len} pictures {per_sec} {eta} left",
    )
}

/// A bar for a download.
#[derive(Default)]
pub struct Download(Option<ProgressBar>);

impl hub::Progress for Download {
    fn start(&mut self, total_bytes: u64) {
        let template = "downloading {bar:32} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
        self.0 = Some(bar(total_bytes, template));
    }

    fn advance(&mut self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}
