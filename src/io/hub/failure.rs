//! What to do when a file does not come.

use super::{Hub, HubId};
use crate::error::Error;
use hf_hub::api::sync::ApiError;

/// Lines about a file that did not come.
pub(super) struct Failure<'a> {
    pub hub: &'a Hub,
    pub id: &'a HubId,
    pub file: &'a str,
}

impl Failure<'_> {
    pub fn line(&self, what: impl std::fmt::Display) -> Error {
        let (endpoint, HubId { repo, revision }) = (&self.hub.endpoint, self.id);
        let file = self.file;
        Error::Hub(format!(
            "{repo}: {file}: {what}; or download {endpoint}/{repo}/resolve/{revision}/{file} elsewhere and pass its \
             path instead"
        ))
    }

    pub fn cut_short(&self, what: impl std::fmt::Display) -> Error {
        self.line(format_args!(
            "the download was cut short ({what}): run the command again to go on"
        ))
    }

    pub fn unreachable(&self, what: impl std::fmt::Display) -> Error {
        self.line(format_args!(
            "cannot reach {} ({what}): check the connection, or set HF_ENDPOINT to a mirror",
            self.hub.endpoint
        ))
    }

    /// Whether the hub says that there is no such file.
    pub fn is_absence(error: &ApiError) -> bool {
        matches!(error, ApiError::RequestError(e) if matches!(**e, ureq::Error::StatusCode(404)))
    }

    pub fn of(&self, error: ApiError) -> Error {
        let HubId { repo, revision } = self.id;
        let endpoint = &self.hub.endpoint;
        let request = match &error {
            ApiError::RequestError(e) => e,
            // The cache is written and the body is read through the same calls.
            ApiError::IoError(e) => {
                use std::io::ErrorKind as Kind;
                let connection = matches!(
                    e.kind(),
                    Kind::ConnectionReset
                        | Kind::ConnectionAborted
                        | Kind::NotConnected
                        | Kind::BrokenPipe
                        | Kind::TimedOut
                        | Kind::Interrupted
                        | Kind::NetworkDown
                        | Kind::NetworkUnreachable
                        | Kind::HostUnreachable
                );
                // What the HTTP client itself finds carries no code of the operating system's.
                return if connection || e.raw_os_error().is_none() {
                    self.cut_short(e)
                } else {
                    let cache = self.hub.cache.display();
                    self.line(format_args!(
                        "cannot write to the cache {cache} ({e}): set HF_HOME to another folder"
                    ))
                };
            }
            ApiError::LockAcquisition(_) => {
                return self.line("another process downloads it: wait for that and try again");
            }
            e => {
                return self.line(format_args!(
                    "{endpoint} does not answer like a model hub ({e}): check HF_ENDPOINT"
                ));
            }
        };
        match **request {
            ureq::Error::StatusCode(404) => Error::Hub(format!(
                "{endpoint} has no {} of `{repo}` at revision `{revision}` (404): check the name and the revision, or \
                 pass a path instead",
                self.file
            )),
            ureq::Error::StatusCode(code @ (401 | 403)) => Error::Hub(format!(
                "{endpoint} gives no access to `{repo}` ({code}): check the name; where the model is private or \
                 gated, set HF_TOKEN to a token that may read it"
            )),
            ureq::Error::StatusCode(code) => self.line(format_args!(
                "{endpoint} answers {code}: try again later, or set HF_ENDPOINT to a mirror"
            )),
            ref e => self.unreachable(e),
        }
    }
}
