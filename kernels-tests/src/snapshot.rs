//! Texts kept as files, so that a review sees what a change does to them.

use std::fmt::Write;
use std::path::Path;

/// The variable that writes the files anew instead of comparing.
pub const UPDATE: &str = "UPDATE_PLANS";

/// Compares `found` with the file at `path`, or writes it there where [`UPDATE`] is set.
///
/// # Errors
/// The lines that differ, with the file's name and how to accept them.
pub fn check(path: &Path, found: &str) -> Result<(), String> {
    if std::env::var_os(UPDATE).is_some() {
        return std::fs::write(path, found).map_err(|e| format!("{}: {e}", path.display()));
    }
    let name = path.display();
    let kept = std::fs::read_to_string(path).map_err(|e| format!("{name}: {e}; `make plans`"))?;
    match difference(&kept, found) {
        None => Ok(()),
        Some(lines) => Err(format!(
            "{name} differs (- kept, + found); if it is meant, `make plans` and commit:\n{lines}"
        )),
    }
}

/// Lines of a difference that are shown.
const SHOWN: usize = 40;

/// The lines between the first and the last that differ; `None` where none does.
fn difference(kept: &str, found: &str) -> Option<String> {
    if kept == found {
        return None;
    }
    let (kept, found): (Vec<&str>, Vec<&str>) = (kept.lines().collect(), found.lines().collect());
    let same =
        |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| pairs.take_while(|(a, b)| a == b).count();
    let before = same(&mut kept.iter().zip(&found));
    let rest = (&kept[before..], &found[before..]);
    let after = same(&mut rest.0.iter().rev().zip(rest.1.iter().rev()));
    let mut out = String::new();
    for (mark, lines) in [('-', rest.0), ('+', rest.1)] {
        let lines = &lines[..lines.len() - after];
        for (i, line) in lines.iter().enumerate().take(SHOWN) {
            let _ = writeln!(out, "{:>5} {mark} {line}", before + i + 1);
        }
        if lines.len() > SHOWN {
            let _ = writeln!(out, "      {mark} … {} more lines", lines.len() - SHOWN);
        }
    }
    if out.is_empty() {
        out.push_str("only the end of the file\n");
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_shown_and_nothing_else() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        let found = difference("a\nb\nc\nd\n", "a\nx\ny\nc\nd\n").unwrap();
        assert_eq!(found, "    2 - b\n    2 + x\n    3 + y\n");
        assert_eq!(difference("a\n", "a\nb\n").unwrap(), "    2 + b\n");
        assert_eq!(difference("a\na\n", "a\n").unwrap(), "    2 - a\n");
        assert!(difference("a\n", "a").is_some());
        let long: String = (0..100).map(|i| format!("{i}\n")).collect();
        let found = difference("", &long).unwrap();
        assert!(found.ends_with("+ … 60 more lines\n"), "{found}");
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        if std::env::var_os(UPDATE).is_none() {
            assert!(check(Path::new("none/of/these"), "").is_err());
        }
    }
}
