//! What is asked of a hub in a thread of its own, so that one that falls silent is given up: its client waits for ever.

use super::Progress;
use crate::io::quiet::quietly;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

enum News<T> {
    Start(u64),
    Advance(u64),
    End(T),
}

/// Why there is no answer.
#[derive(Debug, PartialEq)]
pub(super) enum Unanswered {
    /// Nothing came for so long.
    Silent(Duration),
    /// The client could make nothing of what came.
    Confused,
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unanswered::Silent(time) => write!(f, "nothing came for {} s", time.as_secs_f32()),
            Unanswered::Confused => f.write_str("its answer makes no sense"),
        }
    }
}

/// What `ask` returns, unless it says nothing for `silence`; its thread then ends with the connection or the process.
pub(super) fn watched<T: Send + 'static>(
    silence: Duration,
    progress: &mut dyn Progress,
    ask: impl FnOnce(Reports<T>) -> T + Send + 'static,
) -> Result<T, Unanswered> {
    let (to, news) = channel();
    std::thread::spawn(move || {
        let started = false;
        let reports = Reports {
            to: to.clone(),
            started,
        };
        if let Some(answer) = quietly(|| ask(reports)) {
            let _ = to.send(News::End(answer));
        }
    });
    loop {
        match news.recv_timeout(silence) {
            Ok(News::Start(bytes)) => progress.start(bytes),
            Ok(News::Advance(bytes)) => progress.advance(bytes),
            Ok(News::End(answer)) => return Ok(answer),
            Err(RecvTimeoutError::Timeout) => return Err(Unanswered::Silent(silence)),
            Err(RecvTimeoutError::Disconnected) => return Err(Unanswered::Confused),
        }
    }
}

/// [`Progress`] as hf-hub calls it, which begins twice and finishes before the length is known to be right.
pub(super) struct Reports<T> {
    to: Sender<News<T>>,
    started: bool,
}

impl<T> hf_hub::api::Progress for Reports<T> {
    fn init(&mut self, bytes: usize, _: &str) {
        if !std::mem::replace(&mut self.started, true) {
            let _ = self.to.send(News::Start(bytes as u64));
        }
    }

    fn update(&mut self, bytes: usize) {
        if bytes > 0 {
            let _ = self.to.send(News::Advance(bytes as u64));
        }
    }

    fn finish(&mut self) {}
}
