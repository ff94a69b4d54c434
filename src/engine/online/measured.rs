//! What drafts saved by now, in a file beside them, so that the next start need not measure it anew.

use crate::engine::speculate::Seen;
use crate::error::{Error, Result};
use crate::io::write_atomically;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// Its name.
const NAME: &str = "routing.json";

/// What was seen of each draft by requests without a label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    /// Requests in all.
    pub requests: u64,
    /// By the drafts' names.
    pub drafts: BTreeMap<String, Seen>,
}

impl Measured {
    /// What is in `folder`; nothing where it was never written.
    ///
    /// # Errors
    /// [`Error::File`] where it is something else.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(Error::io(&path)(e)),
        };
        serde_json::from_slice(&bytes).map_err(|e| {
            Error::file(
                &path,
                format!("expected what was measured of drafts: {e}; remove it to begin anew"),
            )
        })
    }

    /// Writes it into `folder`, whole or not at all.
    ///
    /// # Errors
    /// As [`write_atomically`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(NAME);
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::file(&path, e))?;
        write_atomically(&path, |file| writeln!(file, "{text}"))
    }
}
