//! Every error that the crate returns. A message says what was expected, what was found, where, and what to do.

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
    #[error("{}: {message}", .path.display())]
    File { path: PathBuf, message: String },

    /// The operating system refused.
    #[error("{}: {source}", .path.display())]
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

fn within(scope: &str) -> String {
    if scope.is_empty() {
        String::new()
    } else {
        format!("\n  in `{scope}`")
    }
}
