//! What commands print: results on stdout, all else on stderr, nothing that panics where nobody listens.

use cascadia::io::hub;
use cascadia::{Error, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::io::{IsTerminal, Write};

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

/// Prints `text` to stderr, where anyone reads it.
pub fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
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
