//! Acceptance while text comes: a line on stderr that is written anew, where that is a terminal; lines of it for --stats
//! where it is none. What is on stdout is not disturbed: where both are one terminal, the line stands behind the text
//! and is taken away before more text comes.

use super::output;
use cascadia::engine::language::Stats;
use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Rounds that are told about.
const ROUNDS: usize = 50;
/// Tokens from line to line of --stats.
const TOKENS: usize = 64;
/// How often the line is written.
const EVERY: Duration = Duration::from_millis(100);

enum Place {
    /// Behind the text, on the same terminal.
    Behind {
        column: usize,
        width: usize,
    },
    /// On a line of its own.
    Own,
    /// Lines that stay.
    Lines,
    Nowhere,
}

/// What is shown of a generation.
pub struct Live {
    place: Place,
    /// Of the last rounds: proposed, accepted, tested, Σ min(p, q).
    rounds: VecDeque<[f64; 4]>,
    before: Stats,
    shown: bool,
    written: Option<Instant>,
    told: usize,
}

impl Live {
    /// Where the draft learns (`wanted`), with --stats (`stats`), where text goes to stdout as it comes (`text`).
    pub fn new(wanted: bool, stats: bool, text: bool) -> Self {
        let terminal = std::io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let width = usize::from(console::Term::stderr().size().1);
        let place = match (wanted, terminal) {
            (true, true) if text && std::io::stdout().is_terminal() => Place::Behind {
                column: 0,
                width: width.max(1),
            },
            (true, true) => Place::Own,
            (true, false) if stats => Place::Lines,
            _ => Place::Nowhere,
        };
        Self::at(place)
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            rounds: VecDeque::new(),
            before: Stats::default(),
            shown: false,
            written: None,
            told: 0,
        }
    }

    /// Takes the line away, before text is written.
    pub fn clear(&mut self) {
        write(&self.erased());
        self.shown = false;
    }

    fn erased(&self) -> String {
        match self.place {
            Place::Behind { .. } if self.shown => "\x1b[K".into(),
            Place::Own if self.shown => "\r\x1b[K".into(),
            _ => String::new(),
        }
    }

    /// Shows how it goes, after `text` was written.
    pub fn show(&mut self, text: &str, stats: &Stats) {
        self.note(stats);
        if let Place::Lines = self.place {
            if stats.tokens >= self.told + TOKENS {
                self.told = stats.tokens;
                output::note(format_args!(
                    "after {} tokens: {}",
                    stats.tokens,
                    self.line()
                ));
            }
            return;
        }
        let drawn = self.drawn(text);
        if drawn.is_empty() || self.written.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        write(&drawn);
        (self.shown, self.written) = (true, Some(Instant::now()));
    }

    /// What writes the line, as things stand after `text`.
    fn drawn(&mut self, text: &str) -> String {
        let line = self.line();
        match &mut self.place {
            Place::Behind { column, width } => {
                for c in text.chars() {
                    *column = match c {
                        '\n' | '\r' => 0,
                        '\t' => (*column / 8 + 1) * 8,
                        _ => *column + console::measure_text_width(c.encode_utf8(&mut [0; 4])),
                    };
                }
                // At the margin a terminal is about to begin the next line: nothing can be put there and taken away.
                let full = *column > 0 && column.is_multiple_of(*width);
                match full {
                    true => String::new(),
                    // Saved place, no next line at the margin, and back.
                    false => format!("\x1b7\x1b[?7l  \x1b[2m[{line}]\x1b[0m\x1b[?7h\x1b8"),
                }
            }
            Place::Own => format!("\r\x1b[?7l{line}\x1b[K\x1b[?7h"),
            Place::Lines | Place::Nowhere => String::new(),
        }
    }

    /// Begins another text.
    pub fn restart(&mut self) {
        self.clear();
        self.before = Stats::default();
        self.told = 0;
        if let Place::Behind { column, .. } = &mut self.place {
            *column = 0;
        }
    }

    fn note(&mut self, stats: &Stats) {
        let of = |s: &Stats| {
            [
                s.proposed as f64,
                s.accepted as f64,
                s.tested as f64,
                s.overlaps,
            ]
        };
        let (now, before) = (of(stats), of(&self.before));
        self.rounds
            .push_back([0, 1, 2, 3].map(|i| now[i] - before[i]));
        if self.rounds.len() > ROUNDS {
            self.rounds.pop_front();
        }
        self.before = stats.clone();
    }

    /// `accepted 61.2 % of proposals …`
    fn line(&self) -> String {
        let sum = |i: usize| self.rounds.iter().map(|r| r[i]).sum::<f64>();
        let share = |a: f64, b: f64| (b > 0.0).then(|| a / b);
        let mut line = match share(sum(1), sum(0)) {
            Some(accepted) => format!("accepted {:.1} % of proposals", 100.0 * accepted),
            None => "nothing proposed".into(),
        };
        if let Some(overlap) = share(sum(3), sum(2)) {
            line += &format!(", Σ min(p, q) {overlap:.3}");
        }
        line + &format!(", the last {} rounds", self.rounds.len())
    }
}

fn write(text: &str) {
    if !text.is_empty() {
        let mut err = std::io::stderr().lock();
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal, as far as it is needed here.
    struct Screen {
        cells: Vec<Vec<char>>,
        at: [usize; 2],
        saved: [usize; 2],
        wraps: bool,
        /// At the margin: the next character begins a line.
        due: bool,
    }

    impl Screen {
        const WIDTH: usize = 20;

        fn new() -> Self {
            Self {
                cells: vec![vec![' '; Self::WIDTH]],
                at: [0, 0],
                saved: [0, 0],
                wraps: true,
                due: false,
            }
        }

        fn down(&mut self) {
            self.at = [self.at[0] + 1, 0];
            self.due = false;
            if self.at[0] == self.cells.len() {
                self.cells.push(vec![' '; Self::WIDTH]);
            }
        }

        fn print(&mut self, text: &str) {
            let mut rest = text;
            while let Some(c) = rest.chars().next() {
                rest = &rest[c.len_utf8()..];
                let mut code = |code: &str| {
                    let found = rest.strip_prefix(code);
                    rest = found.unwrap_or(rest);
                    found.is_some()
                };
                match c {
                    '\n' => self.down(),
                    '\r' => (self.at[1], self.due) = (0, false),
                    '\x1b' if code("7") => self.saved = self.at,
                    '\x1b' if code("8") => (self.at, self.due) = (self.saved, false),
                    '\x1b' if code("[?7l") => self.wraps = false,
                    '\x1b' if code("[?7h") => self.wraps = true,
                    '\x1b' if code("[2m") || code("[0m") => {}
                    '\x1b' if code("[K") => self.cells[self.at[0]][self.at[1]..].fill(' '),
                    '\x1b' => unreachable!("{rest}"),
                    _ => {
                        if self.due && self.wraps {
                            self.down();
                        }
                        self.cells[self.at[0]][self.at[1]] = c;
                        self.due = self.at[1] + 1 == Self::WIDTH;
                        self.at[1] = (self.at[1] + 1).min(Self::WIDTH - 1);
                    }
                }
            }
        }

        fn text(&self) -> Vec<String> {
            self.cells.iter().map(|l| l.iter().collect()).collect()
        }
    }

    #[test]
    fn the_text_is_as_it_would_be_alone() {
        let pieces = [
            "A line ",
            "of twenty ch",
            "a",
            "",
            "racters\nand",
            " ",
            "more of it, ",
            "\n",
            "twenty characters!!!",
            "end",
        ];
        let (mut alone, mut with) = (Screen::new(), Screen::new());
        let mut live = Live::at(Place::Behind {
            column: 0,
            width: Screen::WIDTH,
        });
        let mut seen = 0;
        for piece in pieces {
            alone.print(piece);
            with.print(&live.erased());
            live.shown = false;
            with.print(piece);
            assert_eq!(with.text(), alone.text());
            let drawn = live.drawn(piece);
            live.shown = !drawn.is_empty();
            with.print(&drawn);
            seen += usize::from(with.text() != alone.text());
        }
        with.print(&live.erased());
        assert_eq!(with.text(), alone.text());
        assert!(seen > 5, "the line is to be seen: {seen}");
    }

    #[test]
    fn the_last_rounds_are_told_about() {
        let mut live = Live::at(Place::Nowhere);
        assert!(live.line().starts_with("nothing proposed"));
        for i in 1..=80 {
            let late = (i as f64 - 40.0).max(0.0);
            live.note(&Stats {
                proposed: 4 * i,
                accepted: (2 * i).min(80),
                tested: 2 * i,
                overlaps: 0.5 * late,
                ..Stats::default()
            });
        }
        // The last 50 begin with the 31st: 10 rounds with 2 accepted of 4, 40 without; 40 of 100 tested at 0.5.
        assert_eq!(
            live.line(),
            "accepted 10.0 % of proposals, Σ min(p, q) 0.200, the last 50 rounds"
        );
    }
}
