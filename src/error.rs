//! Every error that the crate returns. A message says what was expected, what was found, where, and what to do.

use std::borrow::Cow;
use std::path::PathBuf;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A host array or a view of one that cannot be.
    #[error("{0}")]
    Tensor(String),

    /// A model that does not fit together, with the line of the model that says so.
    #[error("{op}: {message}\n  --> {at}{}", within(.scope))]
    Shape {
        op: &'static str,
        message: String,
        at: String,
        scope: String,
    },

    /// A shader that cannot be composed or compiled.
    #[error("{0}")]
    Shader(String),

    /// A plan that cannot be made for this adapter.
    #[error("{0}")]
    Plan(String),

    /// Adapters, devices and what they refuse.
    #[error("{0}")]
    Device(String),

    /// The device is gone. Reopen it and load the model again; host data is intact.
    #[error("the device was lost ({0}); open it again to go on")]
    DeviceLost(String),

    /// A file that is not what it should be.
    #[error("{}: {message}", printable(&.path.to_string_lossy()))]
    File { path: PathBuf, message: String },

    /// The operating system refused.
    #[error("{}: {source}", printable(&.path.to_string_lossy()))]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },

    /// A checkpoint that does not fit the model.
    #[error("{0}")]
    Weights(String),

    /// What the user asked for cannot be.
    #[error("{0}")]
    Usage(String),

    /// The model hub could not deliver.
    #[error("{0}")]
    Hub(String),
}

impl Error {
    /// A [`Error::File`] about `path`.
    pub fn file(path: impl Into<PathBuf>, message: impl std::fmt::Display) -> Self {
        Error::File {
            path: path.into(),
            message: message.to_string(),
        }
    }

    /// A [`Error::Io`] about `path`, for `map_err`.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { path, source }
    }
}

/// `text` from a file or a name as a terminal may show it: what would move its cursor, colour it or turn its letters
/// about is escaped.
pub fn printable(text: &str) -> Cow<'_, str> {
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match acts(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

fn within(scope: &str) -> String {
    if scope.is_empty() {
        String::new()
    } else {
        format!("\n  in `{scope}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_escaped() {
        assert_eq!(printable("café 'a' \\ 犬.png"), "café 'a' \\ 犬.png");
        assert_eq!(
            printable("a\u{1b}[31m\nb\u{9b}\u{202e}"),
            "a\\u{1b}[31m\\nb\\u{9b}\\u{202e}"
        );
        let line = Error::file("new\nline.png", "not an image").to_string();
        assert_eq!(line, "new\\nline.png: not an image");
    }
}
