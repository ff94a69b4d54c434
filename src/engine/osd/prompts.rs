//! What a domain's requests begin with.

use super::draws::Draws;
use super::{problems, sql};

/// Lines of a prompt that is cut from a text.
const LINES: usize = 8;
/// Lines that a text must have at least.
const LEAST: usize = 2;

/// Where a domain's prompts come from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source<'a> {
    Sql,
    Problems,
    /// Cut at the starts of lines.
    Text(&'a str),
}

/// A domain of requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Domain<'a> {
    pub name: String,
    source: Source<'a>,
}

macro_rules! heldout {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/assets/language/heldout/",
            $name,
            ".txt"
        ))
    };
}

impl Domain<'static> {
    /// The four that the built-in models know.
    pub fn built_in() -> Vec<Self> {
        let domain = |name: &str, source| Domain {
            name: name.into(),
            source,
        };
        vec![
            domain("rust", Source::Text(heldout!("rust"))),
            domain("python", Source::Text(heldout!("python"))),
            domain("sql", Source::Sql),
            domain("math", Source::Problems),
        ]
    }
}

impl<'a> Domain<'a> {
    /// One whose prompts are cut from `text`; `None` where it has less than two lines that are not empty.
    pub fn of_text(name: &str, text: &'a str) -> Option<Self> {
        (starts(text).len() >= LEAST).then(|| Self {
            name: name.into(),
            source: Source::Text(text),
        })
    }

    /// `n` prompts, the same for the same seed. None comes twice before a text's starts of lines are used up.
    pub fn prompts(&self, n: usize, seed: u64) -> Vec<String> {
        let mut d = Draws::new(seed);
        match self.source {
            Source::Sql => (0..n).map(|_| sql::prompt(&mut d)).collect(),
            Source::Problems => (0..n).map(|_| problems::prompt(&mut d)).collect(),
            Source::Text(text) => {
                let all = starts(text);
                let mut order: Vec<usize> = Vec::with_capacity(n + all.len());
                while order.len() < n && !all.is_empty() {
                    let mut round = all.clone();
                    d.shuffle(&mut round);
                    order.extend(round);
                }
                order.truncate(n);
                order.into_iter().map(|at| cut(text, at)).collect()
            }
        }
    }
}

/// Where lines begin that are not empty.
fn starts(text: &str) -> Vec<usize> {
    let mut at = 0;
    let mut out = Vec::new();
    for line in text.split_inclusive('\n') {
        if !line.trim().is_empty() {
            out.push(at);
        }
        at += line.len();
    }
    out
}

/// Some lines from `at` on, whole.
fn cut(text: &str, at: usize) -> String {
    text[at..].split_inclusive('\n').take(LINES).collect()
}

#[cfg(test)]
mod tests {
    use super::{Domain, LINES};

    #[test]
    fn hundreds_of_prompts_a_domain_differ_and_come_again_by_seed() {
        for domain in Domain::built_in() {
            let prompts = domain.prompts(500, 3);
            assert_eq!(prompts.len(), 500);
            assert_eq!(prompts, domain.prompts(500, 3));
            assert_ne!(prompts, domain.prompts(500, 4));
            let mut different = prompts.clone();
            different.sort_unstable();
            different.dedup();
            assert!(
                different.len() > 480,
                "{}: {}",
                domain.name,
                different.len()
            );
            assert!(
                prompts
                    .iter()
                    .all(|p| !p.trim().is_empty() && p.len() < 2000)
            );
        }
    }

    #[test]
    fn a_text_is_cut_at_the_starts_of_its_lines() {
        assert_eq!(Domain::of_text("one", "a line\n\n"), None);
        let text = "é one\n\ntwo\r\nthree";
        let Some(domain) = Domain::of_text("few", text) else {
            panic!("it has three lines");
        };
        let mut prompts = domain.prompts(3, 0);
        prompts.sort_unstable();
        assert_eq!(prompts, ["three", "two\r\nthree", "é one\n\ntwo\r\nthree"]);
        assert_eq!(domain.prompts(7, 0).len(), 7);
        assert!(
            domain
                .prompts(7, 0)
                .iter()
                .all(|p| p.lines().count() <= LINES)
        );
    }
}
