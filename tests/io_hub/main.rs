//! Downloads, against a small server of this test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise
#![cfg(feature = "cli")]

mod server;

use cascadia::error::{Error, Result};
use cascadia::io::hub::{Hub, Progress};
use server::{COMMIT, Server, Way, body};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

const ID: &str = "owner/name.r224_in1k";
const FILE: &str = "model.safetensors";
/// How long the tests that wait for it let a server be silent.
const SILENCE: Duration = Duration::from_millis(200);

#[derive(Default)]
struct Seen {
    started: Vec<u64>,
    bytes: u64,
    finished: usize,
}

impl Progress for Seen {
    fn start(&mut self, total_bytes: u64) {
        self.started.push(total_bytes);
    }
    fn advance(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
    fn finish(&mut self) {
        self.finished += 1;
    }
}

fn hub(address: SocketAddr, cache: &Path) -> Hub {
    let set = [
        ("HF_ENDPOINT", format!("http://{address}/")),
        ("HF_HUB_CACHE", cache.join("hub").display().to_string()),
        ("HF_TOKEN", "secret".to_string()),
    ];
    Hub::from_variables(|n| set.iter().find(|(k, _)| *k == n).map(|(_, v)| v.clone())).unwrap()
}

fn fetch(address: SocketAddr, cache: &Path) -> (Result<PathBuf>, Seen) {
    let mut seen = Seen::default();
    let result = hub(address, cache).fetch(ID, FILE, &mut seen);
    (result, seen)
}

/// The message, which is one line from the hub.
#[track_caller]
fn failed(result: Result<PathBuf>, parts: &[&str]) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Hub(_)), "{error:?}");
    let message = error.to_string();
    assert!(!message.contains('\n'), "{message}");
    for part in parts {
        assert!(message.contains(part), "no `{part}` in: {message}");
    }
}

/// The address of a server that is gone.
fn gone() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

#[test]
fn a_file_is_downloaded_once() {
    for way in [Way::Whole, Way::Redirect] {
        let cache = tempfile::tempdir().unwrap();
        let server = Server::start(way);
        let (path, seen) = fetch(server.address, cache.path());
        let path = path.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), body());
        assert!(path.ends_with(format!(
            "models--owner--name.r224_in1k/snapshots/{COMMIT}/{FILE}"
        )));
        assert_eq!(seen.started, [200_000]);
        assert_eq!((seen.bytes, seen.finished), (200_000, 1));
        let requests = server.requests();
        assert!(
            requests[0].starts_with(&format!("/{ID}/resolve/main/{FILE} ")),
            "{requests:?}"
        );
        assert!(requests[0].ends_with(" authorised"), "{requests:?}");
        drop(server);

        let (again, seen) = fetch(gone(), cache.path());
        assert_eq!(again.unwrap(), path);
        assert!(seen.started.is_empty() && seen.finished == 0);
        let mut offline = hub(gone(), cache.path());
        offline.offline = true;
        assert_eq!(offline.fetch(ID, FILE, &mut ()).unwrap(), path);
        // By its commit, for which nothing keeps a ref.
        let commit = format!("{ID}@{COMMIT}");
        assert_eq!(offline.fetch(&commit, FILE, &mut ()).unwrap(), path);
    }
}

#[test]
fn a_revision_is_asked_for() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(Way::Whole);
    let hub = hub(server.address, cache.path());
    hub.fetch(&format!("{ID}@v1/x"), FILE, &mut ()).unwrap();
    assert!(server.requests()[0].starts_with(&format!("/{ID}/resolve/v1%2Fx/{FILE} ")));
}

#[test]
fn a_download_cut_short_is_no_file_and_is_gone_on_with() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(Way::CutShort);
    let (result, seen) = fetch(server.address, cache.path());
    failed(result, &["cut short", "run the command again", ID]);
    assert_eq!(seen.finished, 0);
    drop(server);
    failed(fetch(gone(), cache.path()).0, &["cannot reach"]);

    let server = Server::start(Way::Whole);
    let (path, seen) = fetch(server.address, cache.path());
    assert_eq!(std::fs::read(path.unwrap()).unwrap(), body());
    assert_eq!((seen.bytes, seen.finished), (200_000, 1));
    let requests = server.requests();
    assert!(
        requests.iter().any(|r| r.contains(" 100000-")),
        "{requests:?}"
    );
}

#[test]
fn an_end_that_the_protocol_does_not_show_is_found() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(Way::CutShortUnnoticed);
    let (result, seen) = fetch(server.address, cache.path());
    failed(result, &["cut short", "100000 of 200000 bytes"]);
    assert_eq!(seen.finished, 0);
    drop(server);
    failed(fetch(gone(), cache.path()).0, &["cannot reach"]);

    let server = Server::start(Way::Whole);
    let (path, _) = fetch(server.address, cache.path());
    assert_eq!(std::fs::read(path.unwrap()).unwrap(), body());
}

#[test]
fn a_hub_that_falls_silent_is_given_up() {
    for (way, parts) in [
        (Way::Silent, &["cannot reach", "nothing came for 0.2 s"][..]),
        (
            Way::Stalls,
            &["cut short", "nothing came for 0.2 s", "run the command"],
        ),
    ] {
        let cache = tempfile::tempdir().unwrap();
        let server = Server::start(way);
        let mut hub = hub(server.address, cache.path());
        hub.silence = SILENCE;
        failed(hub.fetch(ID, FILE, &mut ()), parts);
    }
}

#[test]
fn a_damaged_file_is_not_kept() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(Way::Hashed { damaged: true });
    let (result, seen) = fetch(server.address, cache.path());
    failed(result, &["damaged", "SHA-256", "run the command again"]);
    assert_eq!(seen.finished, 0);
    drop(server);
    failed(fetch(gone(), cache.path()).0, &["cannot reach"]);

    let server = Server::start(Way::Hashed { damaged: false });
    let (path, _) = fetch(server.address, cache.path());
    assert_eq!(std::fs::read(path.unwrap()).unwrap(), body());
}

#[test]
fn what_an_earlier_run_left_at_full_length_or_more_is_thrown_away() {
    for left in [200_000, 200_001] {
        let cache = tempfile::tempdir().unwrap();
        let blobs = cache.path().join("hub/models--owner--name.r224_in1k/blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(blobs.join("abcdef.part"), vec![0; left]).unwrap();
        let server = Server::start(Way::Whole);
        let (path, _) = fetch(server.address, cache.path());
        assert_eq!(std::fs::read(path.unwrap()).unwrap(), body());
    }
}

#[test]
fn each_failure_says_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    for (way, parts) in [
        (
            Way::Status(404),
            &["404", ID, FILE, "`main`", "check the name", "path instead"][..],
        ),
        (Way::Status(401), &["401", "HF_TOKEN"][..]),
        (Way::Status(403), &["403", "HF_TOKEN"][..]),
        (
            Way::Status(503),
            &["503", "HF_ENDPOINT", "path instead"][..],
        ),
        (
            Way::Nonsense,
            &["does not answer like a model hub", "HF_ENDPOINT"][..],
        ),
        (Way::HostileEtag, &["ETag", "HF_ENDPOINT"][..]),
    ] {
        let server = Server::start(way);
        failed(fetch(server.address, cache.path()).0, parts);
    }
    let address = gone();
    failed(
        fetch(address, cache.path()).0,
        &[
            "cannot reach",
            "HF_ENDPOINT",
            &format!("http://{address}/{ID}/resolve/main/{FILE}"),
            "path instead",
        ],
    );
    for endpoint in ["http://", "http://a b", "http://[", "https://:x/"] {
        let mut wrong = hub(address, cache.path());
        wrong.endpoint = endpoint.to_string();
        failed(wrong.fetch(ID, FILE, &mut ()), &["HF_ENDPOINT", endpoint]);
    }
    let mut offline = hub(address, cache.path());
    offline.offline = true;
    failed(
        offline.fetch(ID, FILE, &mut ()),
        &["not in the cache", "HF_HUB_OFFLINE is set", "path instead"],
    );
    failed(
        offline.fetch("nonsense", FILE, &mut ()),
        &["`nonsense`", "owner/name"],
    );
    failed(offline.fetch(ID, "../x", &mut ()), &["neither"]);
    // Nothing that a later run could take for a file.
    assert!(!cache.path().join("hub").exists());
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("hub"),
        "a file where the cache should be",
    )
    .unwrap();
    let server = Server::start(Way::Whole);
    let (result, _) = fetch(server.address, folder.path());
    failed(result, &["cannot write to the cache", "HF_HOME"]);
}
