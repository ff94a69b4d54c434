//! `--label`, `--drafts`: several drafts of one target, and which of them serves a request.

use super::language::Opened;
use super::output;
use cascadia::engine::language::Draft;
use cascadia::engine::online::{Drafts, DraftsSettings, OnlineSettings, Routed};
use cascadia::{Error, Result};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Routing {
    /// What the request is about, as its language or topic: the draft of this name serves it; with --adapt one is begun
    /// where there is none. Of several drafts, the one that saves the most by what was measured, without it
    #[arg(long, value_name = "NAME")]
    pub label: Option<String>,
    /// A folder with a draft in each subfolder, under its name; with --adapt they learn and are saved there
    #[arg(long, value_name = "DIR")]
    drafts: Option<PathBuf>,
    /// Bytes on the device that drafts may take together, as 300000000, 300M or 2G: the rest waits on the host
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    draft_memory: Option<u64>,
}

/// A number of bytes, with K, M or G behind it if any.
fn bytes(text: &str) -> Result<u64, String> {
    let fault =
        || format!("expected a number of bytes such as 300000000, 300M or 2G, not `{text}`");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "K" | "k" => 1 << 10,
        "M" | "m" => 1 << 20,
        "G" | "g" => 1u64 << 30,
        _ => return Err(fault()),
    };
    let number: u64 = digits.parse().map_err(|_| fault())?;
    number
        .checked_mul(unit)
        .filter(|n| *n > 0)
        .ok_or_else(fault)
}

impl Routing {
    /// Whether there are several drafts.
    pub fn wanted(&self, opened: &Opened) -> bool {
        self.label.is_some() || self.drafts.is_some() || !opened.named.is_empty()
    }

    /// The drafts of a command, with room for `wanted` tokens; they learn as `online` says.
    pub fn open(
        &self,
        opened: &Opened,
        wanted: usize,
        online: Option<OnlineSettings>,
    ) -> Result<Drafts> {
        let base = match &opened.draft {
            Draft::Model(draft) => Some(draft.clone()),
            Draft::None | Draft::Ngram => None,
        };
        let settings = DraftsSettings {
            online,
            folder: self.drafts.clone(),
            memory: self.draft_memory,
        };
        let (target, named) = (&opened.target, opened.named.clone());
        let drafts = Drafts::new(target, base, named, settings, opened.room(wanted)?)?;
        for left in drafts.left_out() {
            output::note(format_args!("left out: {left}"));
        }
        if let Some(label) = &self.label {
            drafts.check(label)?;
        }
        Ok(drafts)
    }

    /// # Errors
    /// Where something was said of several drafts and there is one.
    pub fn alone(&self) -> Result<()> {
        match self.draft_memory {
            Some(_) => Err(Error::Usage(
                "--draft-memory is for several drafts: give --drafts, --label, or --draft with names".into(),
            )),
            None => Ok(()),
        }
    }
}

/// `drafted by …`
pub fn told(routed: &Routed) -> String {
    let why = match routed.labelled {
        true => "as labelled",
        false => "by what was measured",
    };
    format!("drafted by `{}` {why}", routed.draft)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_have_units() {
        assert_eq!(bytes("300"), Ok(300));
        assert_eq!(bytes("3M"), Ok(3 << 20));
        assert_eq!(bytes("2G"), Ok(2 << 30));
        for wrong in [
            "",
            "M",
            "0",
            "-1",
            "1T",
            "1.5G",
            "99999999999999999999",
            "18446744073709551615K",
        ] {
            assert!(bytes(wrong).is_err_and(|e| e.contains("300M")), "{wrong}");
        }
    }
}
