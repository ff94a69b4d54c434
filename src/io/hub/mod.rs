//! Files from the model hub, kept in the cache that Hugging Face's own tools share.

mod failure;
mod id;
mod watch;

pub use id::{HubId, is_hub_id};

use crate::error::{Error, Result};
use failure::Failure;
use hf_hub::api::sync::{Api, ApiBuilder};
use hf_hub::{Cache, Repo, RepoType};
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use watch::watched;

const ENDPOINT: &str = "https://huggingface.co";

/// How long a hub may say nothing where nothing says otherwise.
const SILENCE: Duration = Duration::from_secs(30);

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
    /// How long the hub may say nothing, at first or amid a file, before it is given up.
    pub silence: Duration,
}

impl Hub {
    /// The hub that the environment names, by the variables of Hugging Face's own tools: `HF_ENDPOINT`,
    /// `HF_HUB_CACHE`, else `HF_HOME` (where `hub/` is the cache and `token` may hold a token), `HF_TOKEN`,
    /// `HF_HUB_OFFLINE`, `HF_HUB_DOWNLOAD_TIMEOUT` (in seconds, 30 without it).
    ///
    /// # Errors
    /// [`Error::Hub`] where `HF_ENDPOINT` is no http address, the time is none, or nothing says where the cache is.
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
        let silence = match set("HF_HUB_DOWNLOAD_TIMEOUT") {
            None => SILENCE,
            Some(text) => (text.parse().ok())
                .filter(|s: &f64| *s > 0.0)
                .and_then(|s| Duration::try_from_secs_f64(s).ok())
                .ok_or_else(|| {
                    Error::Hub(format!(
                        "HF_HUB_DOWNLOAD_TIMEOUT is `{text}`; expected seconds, more than 0"
                    ))
                })?,
        };
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_string(),
            cache,
            token,
            offline,
            silence,
        })
    }

    /// The path of `file` of the model `id`: in the cache, downloaded to there where it lacks it.
    ///
    /// A download that is cut short leaves no such file; what is there of it is kept beside, and the next goes on
    /// from it.
    ///
    /// # Errors
    /// [`Error::Hub`], which says what to do: not an id, not on the hub, no connection, silent for too long, cut short,
    /// damaged on the way, or not in the cache while `offline`.
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
        let there = match self.look_up(&api, &cached, &repo, &failure)? {
            Found::File(there) => there,
            Found::Absent(e) => return Ok(Answer::Absent(e)),
        };
        let (repo, name) = (api.repo(repo), file.to_string());
        let path = watched(self.silence, progress, move |reports| {
            repo.download_with_progress(&name, reports)
        })
        .map_err(|e| failure.cut_short(e))?
        .map_err(|e| failure.of(e))?;

        if let Some(wrong) = unlike(&path, &there)? {
            let blob = std::fs::canonicalize(&path).map_err(Error::io(&path))?;
            for part in [&path, &blob] {
                match std::fs::remove_file(part) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        return Err(Error::io(part)(e));
                    }
                    _ => {}
                }
            }
            return Err(match wrong {
                Wrong::Length(found) => {
                    failure.cut_short(format_args!("{found} of {} bytes came", there.bytes))
                }
                Wrong::Hash => failure.line(
                    "what came is damaged (another SHA-256 than the hub names) and was removed: run the command again",
                ),
            });
        }
        progress.finish();
        Ok(Answer::Here(path))
    }

    /// What the hub says of the file, if it has it, with what an earlier download left made fit to go on from.
    fn look_up(
        &self,
        api: &Api,
        cached: &hf_hub::CacheRepo,
        repo: &Repo,
        failure: &Failure,
    ) -> Result<Found> {
        let (client, url) = (api.clone(), api.repo(repo.clone()).url(failure.file));
        let answer = watched(self.silence, &mut (), move |_| client.metadata(&url));
        let known = match answer.map_err(|e| failure.unreachable(e))? {
            Ok(known) => known,
            Err(e) if Failure::is_absence(&e) => return Ok(Found::Absent(failure.of(e))),
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
        Ok(Found::File(There {
            bytes: known.size() as u64,
            etag: known.etag().to_string(),
        }))
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

/// What the hub says of a file.
struct There {
    bytes: u64,
    /// Of large files the SHA-256, in hexadecimal.
    etag: String,
}

enum Found {
    File(There),
    Absent(Error),
}

/// How a file that came differs from what the hub says of it.
enum Wrong {
    Length(u64),
    Hash,
}

/// Whether the file at `path` is not the one that is `there`: an answer without a length may end early and look whole.
fn unlike(path: &Path, there: &There) -> Result<Option<Wrong>> {
    let mut file = std::fs::File::open(path).map_err(Error::io(path))?;
    let found = file.metadata().map_err(Error::io(path))?.len();
    if found != there.bytes {
        return Ok(Some(Wrong::Length(found)));
    }
    if there.etag.len() != 64 || !there.etag.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece).map_err(Error::io(path))? {
            0 => break,
            n => hash.update(&piece[..n]),
        }
    }
    let hash: String = (hash.finish().as_ref().iter())
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok((!hash.eq_ignore_ascii_case(&there.etag)).then_some(Wrong::Hash))
}

/// Whether `text` stays below the folder that it is appended to.
fn is_plain(text: &str) -> bool {
    let mut parts = Path::new(text).components().peekable();
    parts.peek().is_some() && parts.all(|c| matches!(c, Component::Normal(_)))
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
        let silence = |text| hub(&[("HOME", "/"), ("HF_HUB_DOWNLOAD_TIMEOUT", text)]);
        assert_eq!(silence("2.5").unwrap().silence.as_millis(), 2500);
        for text in ["0", "-1", "nan", "1e99", "soon"] {
            let message = silence(text).unwrap_err().to_string();
            assert!(message.contains(&format!("`{text}`")), "{message}");
        }
    }
}
