//! A small hub, and ways in which one may fail.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How long a server is silent.
const PAUSE: Duration = Duration::from_millis(800);

/// The SHA-256 of [`body`].
const HASH: &str = "ff41b7e9cc397e9de1484b9ba8bd73b47c1bdfbc363d738bde401789cca5ef56";

pub fn body() -> Vec<u8> {
    (0..200_000u32).map(|i| (i * 7 % 251) as u8).collect()
}

/// How the server answers.
#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    Whole,
    /// By way of a redirect within the server.
    Redirect,
    Status(u16),
    /// Ends in the middle, with a length that says so.
    CutShort,
    /// Ends in the middle, without a length.
    CutShortUnnoticed,
    /// Names a path for an ETag.
    HostileEtag,
    /// Names the SHA-256 of what it has, and sends that or other bytes.
    Hashed {
        damaged: bool,
    },
    /// Says nothing for a while.
    Silent,
    /// Falls silent in the middle.
    Stalls,
    /// Answers something else altogether.
    Nonsense,
}

pub struct Server {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(way: Way) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, stop) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(AtomicBool::new(false)),
        );
        let (log, stopped) = (seen.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                // A client that goes away is part of the tests.
                let _ = stream.and_then(|s| answer(s, way, &log));
            }
        });
        Self {
            address,
            seen,
            stop,
            thread: Some(thread),
        }
    }

    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers one request, then closes.
fn answer(mut stream: TcpStream, way: Way, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let (mut first, mut start, mut end, mut authorised) = (String::new(), 0, None, "");
    for (i, line) in BufReader::new(stream.try_clone()?).lines().enumerate() {
        let line = line?;
        if line.is_empty() {
            break;
        } else if i == 0 {
            first = line;
        } else if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            let (a, b) = range.split_once('-').unwrap_or((range, ""));
            (start, end) = (a.parse().unwrap_or(0), b.parse::<usize>().ok());
        } else if line.to_lowercase() == "authorization: bearer secret" {
            authorised = " authorised";
        }
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_string();
    log.lock().unwrap().push(format!(
        "{path} {start}-{}{authorised}",
        end.map_or(String::new(), |e| e.to_string())
    ));
    let whole = body();
    let end = end.map_or(whole.len(), |e| (e + 1).min(whole.len()));
    let part = &whole[start.min(end)..end];
    let etag = match way {
        Way::HostileEtag => "../../../../outside",
        Way::Hashed { .. } => HASH,
        _ => "abcdef",
    };
    let common = format!("ETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\nConnection: close\r\n");
    let range = format!(
        "Content-Range: bytes {start}-{}/{}\r\n",
        end.max(1) - 1,
        whole.len()
    );
    let length = format!("Content-Length: {}\r\n", part.len());
    let partial = "HTTP/1.1 206 Partial Content\r\n";
    let first_request = part.len() == 1;
    match way {
        Way::Status(code) => write!(
            stream,
            "HTTP/1.1 {code} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ),
        Way::Nonsense => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        }
        Way::Redirect if !path.starts_with("/there") => write!(
            stream,
            "HTTP/1.1 307 Elsewhere\r\nLocation: /there{path}\r\n{common}Content-Length: 0\r\n\r\n"
        ),
        Way::CutShort if !first_request => {
            write!(stream, "{partial}{common}{range}{length}\r\n")?;
            stream.write_all(&part[..part.len() / 2])
        }
        Way::CutShortUnnoticed if !first_request => {
            write!(stream, "{partial}{common}{range}\r\n")?;
            stream.write_all(&part[..part.len() / 2])
        }
        Way::Silent => {
            std::thread::sleep(PAUSE);
            Ok(())
        }
        Way::Stalls if !first_request => {
            write!(stream, "{partial}{common}{range}{length}\r\n")?;
            stream.write_all(&part[..part.len() / 2])?;
            std::thread::sleep(PAUSE);
            Ok(())
        }
        Way::Hashed { damaged: true } if !first_request => {
            write!(stream, "{partial}{common}{range}{length}\r\n")?;
            stream.write_all(&vec![0; part.len()])
        }
        _ => {
            write!(stream, "{partial}{common}{range}{length}\r\n")?;
            stream.write_all(part)
        }
    }
}
