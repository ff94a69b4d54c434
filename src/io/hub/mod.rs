//! Files from the model hub, kept in the cache that Hugging Face's own tools share.

mod failure;
mod id;

pub use id::{HubId, is_hub_id};

use crate::error::{Error, Result};
use failure::Failure;
use hf_hub::api::sync::{Api, ApiBuilder};
use hf_hub::{Cache, Repo, RepoType};
use std::path::{Component, Path, PathBuf};

const ENDPOINT: &str = "https://huggingface.co";

/// Who wants to see a download progress.
pub trait Progress {
    /// A download of `total_bytes` begins. Not called where the cache has the file.
    fn start(&mut self, total_bytes: u64);
    /// `bytes` more are there; the first call counts what an earlier download left.
    fn advance(&mut self, bytes: u64);
    /// The file is whole. Not called where the download fails.
    fn finish(&mut self);
}

/// Nobody.
impl Progress for () {
    fn start(&mut self, _: u64) {}
    fn advance(&mut self, _: u64) {}
    fn finish(&mut self) {}
}

/// [`Hub::fetch`] with what the environment says.
pub fn fetch(id: &str, file: &str, progress: &mut dyn Progress) -> Result<PathBuf> {
    Hub::from_env()?.fetch(id, file, progress)
}

/// Where the hub and its cache are.
#[derive(Clone)]
pub struct Hub {
    /// The hub's address, without a slash at its end.
    pub endpoint: String,
    /// The folder of the cache.
    pub cache: PathBuf,
    /// Sent with each request, for private models.
    pub token: Option<String>,
    /// Whether only the cache may be asked.
    pub offline: bool,
}

impl Hub {
    /// The hub that the environment names, by the variables of Hugging Face's own tools: `HF_ENDPOINT`,
    /// `HF_HUB_CACHE`, else `HF_HOME` (where `hub/` is the cache and `token` may hold a token), `HF_TOKEN`,
    /// `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// [`Error::Hub`] where `HF_ENDPOINT` is no http address, or nothing says where the cache is.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| match name {
            "HOME" => std::env::home_dir()?.into_os_string().into_string().ok(),
            _ => std::env::var(name).ok(),
        })
    }

    /// [`Hub::from_env`] with another source of variables.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let set = |name: &str| {
            variable(name)
                .map(|v| v.trim().to_string())
                .filter(|v| !v.is_empty())
        };
        let path = |name: &str| set(name).map(PathBuf::from);
        let home = path("HF_HOME")
            .or_else(|| path("XDG_CACHE_HOME").map(|p| p.join("huggingface")))
            .or_else(|| path("HOME").map(|p| p.join(".cache").join("huggingface")));
        let cache = path("HF_HUB_CACHE").or_else(|| home.as_ref().map(|p| p.join("hub")));
        let Some(cache) = cache else {
            return Err(Error::Hub(
                "there is no home folder for the cache of downloads; set HF_HOME to a folder"
                    .to_string(),
            ));
        };
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_string());
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(Error::Hub(format!(
                "HF_ENDPOINT is `{endpoint}`; expected an address such as {ENDPOINT}"
            )));
        }
        let token = set("HF_TOKEN").or_else(|| {
            let text = std::fs::read_to_string(home?.join("token")).ok()?;
            Some(text.trim().to_string()).filter(|t| !t.is_empty())
        });
        let offline = set("HF_HUB_OFFLINE")
            .is_some_and(|v| ["1", "on", "yes", "true"].contains(&v.to_ascii_lowercase().as_str()));
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_string(),
            cache,
            token,
            offline,
        })
    }

    /// The path of `file` of the model `id`: in the cache, downloaded to there where it lacks it.
    ///
    /// A download that is cut short leaves no such file; what is there of it is kept beside, and the next goes on
    /// from it.
    ///
    /// # Errors
    /// [`Error::Hub`], which says what to do: not an id, not on the hub, no connection, cut short, or not in the
    /// cache while `offline`.
    pub fn fetch(&self, id: &str, file: &str, progress: &mut dyn Progress) -> Result<PathBuf> {
        match self.ask(id, file, progress)? {
            Answer::Here(path) => Ok(path),
            Answer::Absent(e) => Err(e),
        }
    }

    /// [`Hub::fetch`] of a file that not every model has: `None` where the hub, or while `offline` the cache, has
    /// none.
    ///
    /// # Errors
    /// As [`Hub::fetch`].
    pub fn fetch_if_there(
        &self,
        id: &str,
        file: &str,
        progress: &mut dyn Progress,
    ) -> Result<Option<PathBuf>> {
        match self.ask(id, file, progress)? {
            Answer::Here(path) => Ok(Some(path)),
            Answer::Absent(_) => Ok(None),
        }
    }

    fn ask(&self, id: &str, file: &str, progress: &mut dyn Progress) -> Result<Answer> {
        let Some(id) = HubId::parse(id).filter(|_| is_plain(file)) else {
            return Err(Error::Hub(format!(
                "`{id}` is neither a file nor a model of the hub; expected a path, `owner/name` or \
                 `owner/name@revision`"
            )));
        };
        let repo = Repo::with_revision(id.repo.clone(), RepoType::Model, id.revision.clone());
        let cached = Cache::new(self.cache.clone()).repo(repo.clone());
        // A commit is its own name; other tools keep no ref for one.
        let commit = cached.pointer_path(&id.revision).join(file);
        if let Some(path) = cached
            .get(file)
            .or_else(|| commit.is_file().then_some(commit))
        {
            return Ok(Answer::Here(path));
        }

        let failure = Failure {
            hub: self,
            id: &id,
            file,
        };
        if self.offline {
            return Ok(Answer::Absent(failure.line(format_args!(
                "not in the cache {} and HF_HUB_OFFLINE is set: unset it",
                self.cache.display()
            ))));
        }
        let api = ApiBuilder::from_cache(Cache::new(self.cache.clone()))
            .with_endpoint(self.endpoint.clone())
            .with_token(self.token.clone())
            .with_user_agent(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|e| failure.of(e))?;
        let bytes = match self.expected_bytes(&api, &cached, &repo, &failure)? {
            Length::Bytes(bytes) => bytes,
            Length::Absent(e) => return Ok(Answer::Absent(e)),
        };
        let path = api
            .repo(repo)
            .download_with_progress(file, Adapter::new(progress))
            .map_err(|e| failure.of(e))?;

        // An answer without a length may end early and look whole.
        let found = std::fs::metadata(&path).map_err(Error::io(&path))?.len();
        if found != bytes {
            let blob = std::fs::canonicalize(&path).map_err(Error::io(&path))?;
            for part in [&path, &blob] {
                match std::fs::remove_file(part) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        return Err(Error::io(part)(e));
                    }
                    _ => {}
                }
            }
            return Err(failure.cut_short(format_args!("{found} of {bytes} bytes came")));
        }
        progress.finish();
        Ok(Answer::Here(path))
    }

    /// The length of the file on the hub, if it has it, with what an earlier download left made fit to go on from.
    fn expected_bytes(
        &self,
        api: &Api,
        cached: &hf_hub::CacheRepo,
        repo: &Repo,
        failure: &Failure,
    ) -> Result<Length> {
        let url = api.repo(repo.clone()).url(failure.file);
        let known = match api.metadata(&url) {
            Ok(known) => known,
            Err(e) if Failure::is_absence(&e) => return Ok(Length::Absent(failure.of(e))),
            Err(e) => return Err(failure.of(e)),
        };
        // Both become paths in the cache.
        if !is_plain(known.etag()) || !is_plain(known.commit_hash()) {
            return Err(failure.line(format_args!(
                "{} answers with an ETag or a commit that is none: name another HF_ENDPOINT",
                self.endpoint
            )));
        }
        let mut part = cached.blob_path(known.etag());
        part.set_extension("part");
        let left = std::fs::metadata(&part).map_or(0, |m| m.len());
        if left >= known.size() as u64 && left > 0 {
            // Nothing could be asked for after its end.
            std::fs::remove_file(&part).map_err(Error::io(&part))?;
        }
        Ok(Length::Bytes(known.size() as u64))
    }
}

impl std::fmt::Debug for Hub {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

/// What became of a file that was asked for.
enum Answer {
    Here(PathBuf),
    /// There is none, which may be as it should be.
    Absent(Error),
}

/// The length of a file on the hub.
enum Length {
    Bytes(u64),
    Absent(Error),
}

/// Whether `text` stays below the folder that it is appended to.
fn is_plain(text: &str) -> bool {
    let mut parts = Path::new(text).components().peekable();
    parts.peek().is_some() && parts.all(|c| matches!(c, Component::Normal(_)))
}

/// [`Progress`] as hf-hub calls it, which begins twice and finishes before the length is known to be right.
struct Adapter<'a> {
    inner: &'a mut dyn Progress,
    started: bool,
}

impl<'a> Adapter<'a> {
    fn new(inner: &'a mut dyn Progress) -> Self {
        let started = false;
        Self { inner, started }
    }
}

impl hf_hub::api::Progress for Adapter<'_> {
    fn init(&mut self, bytes: usize, _: &str) {
        if !std::mem::replace(&mut self.started, true) {
            self.inner.start(bytes as u64);
        }
    }

    fn update(&mut self, bytes: usize) {
        if bytes > 0 {
            self.inner.advance(bytes as u64);
        }
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_their_order() {
        let hub = |set: &[(&str, &str)]| {
            let set: Vec<(String, String)> = (set.iter())
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect();
            Hub::from_variables(|n| set.iter().find(|(k, _)| k == n).map(|(_, v)| v.clone()))
        };
        let plain = hub(&[("HOME", "/nowhere")]).unwrap();
        assert_eq!(plain.cache, Path::new("/nowhere/.cache/huggingface/hub"));
        assert_eq!(plain.endpoint, "https://huggingface.co");
        assert!(!plain.offline && plain.token.is_none());
        let home = hub(&[("HOME", "/nowhere"), ("HF_HOME", "/hf")]).unwrap();
        assert_eq!(home.cache, Path::new("/hf/hub"));
        let all = hub(&[
            ("HF_HOME", "/hf"),
            ("HF_HUB_CACHE", "/cache"),
            ("HF_ENDPOINT", "http://mirror:1/"),
            ("HF_TOKEN", " secret\n"),
            ("HF_HUB_OFFLINE", "True"),
        ])
        .unwrap();
        assert_eq!(all.cache, Path::new("/cache"));
        assert_eq!(all.endpoint, "http://mirror:1");
        assert_eq!(all.token.as_deref(), Some("secret"));
        assert!(all.offline);
        assert!(!format!("{all:?}").contains("secret"));
        assert!(
            !hub(&[("HOME", "/"), ("HF_HUB_OFFLINE", "0")])
                .unwrap()
                .offline
        );
        let message = hub(&[("HOME", "/"), ("HF_ENDPOINT", "mirror")])
            .unwrap_err()
            .to_string();
        assert!(message.contains("HF_ENDPOINT is `mirror`"), "{message}");
        assert!(hub(&[]).unwrap_err().to_string().contains("HF_HOME"));
    }
}
