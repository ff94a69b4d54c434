//! The order in which domains come.

use super::draws::Draws;
use crate::error::{Error, Result};

/// A stream of requests, by which domain comes when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// One domain throughout.
    Stationary(usize),
    /// All domains one after the other, each as long.
    Sharp,
    /// Half the stream one domain, then another.
    Abrupt { from: usize, to: usize },
    /// The same two, mixed: the share of the second grows from 0 to 1 linearly.
    Gradual { from: usize, to: usize },
    /// The same two, in random order and in equal shares.
    Interleaved { a: usize, b: usize },
    /// All domains, in random order and in equal shares.
    Mixed,
}

impl Stream {
    /// All streams over domains of these names, those of two domains between the second and the third.
    pub fn all(domains: &[String]) -> Vec<(String, Self)> {
        let mut out: Vec<_> = (domains.iter().enumerate())
            .map(|(d, name)| (name.clone(), Self::Stationary(d)))
            .collect();
        if domains.len() > 1 {
            let (from, to) = (1 % domains.len(), 2 % domains.len());
            out.push(("sharp".into(), Self::Sharp));
            out.push(("abrupt".into(), Self::Abrupt { from, to }));
            out.push(("gradual".into(), Self::Gradual { from, to }));
            out.push(("interleaved".into(), Self::Interleaved { a: from, b: to }));
            out.push(("mixed".into(), Self::Mixed));
        }
        out
    }

    /// Those of [`Stream::all`] whose names `wanted` has; `stationary` stands for every domain's. All where empty.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is none of a name.
    pub fn chosen(domains: &[String], wanted: &[String]) -> Result<Vec<(String, Self)>> {
        let all = Self::all(domains);
        for name in wanted {
            if name != "stationary" && !all.iter().any(|(n, _)| n == name) {
                let names: Vec<&str> = all.iter().map(|(n, _)| n.as_str()).collect();
                return Err(Error::Usage(format!(
                    "there is no stream `{name}`; expected stationary, {}",
                    names.join(", ")
                )));
            }
        }
        let of = |name: &str, stream: &Self| {
            let stationary = matches!(stream, Self::Stationary(_));
            (wanted.iter()).any(|w| w == name || (stationary && w == "stationary"))
        };
        let mut chosen = all;
        chosen.retain(|(name, stream)| wanted.is_empty() || of(name, stream));
        Ok(chosen)
    }

    /// The domain of each of `n` requests, of `domains`.
    pub fn order(&self, n: usize, domains: usize, seed: u64) -> Vec<usize> {
        let mut d = Draws::new(seed);
        (0..n)
            .map(|i| match *self {
                Self::Stationary(domain) => domain,
                Self::Sharp => i * domains / n,
                Self::Abrupt { from, to } => [from, to][2 * i / n],
                Self::Gradual { from, to } => {
                    let share = (i as f64 + 0.5) / n as f64;
                    if d.chance(share) { to } else { from }
                }
                Self::Interleaved { a, b } => {
                    if d.chance(0.5) {
                        b
                    } else {
                        a
                    }
                }
                Self::Mixed => d.below(domains),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Stream;

    fn names() -> Vec<String> {
        ["rust", "python", "sql", "math"].map(String::from).to_vec()
    }

    #[test]
    fn streams_order_their_domains() {
        assert_eq!(Stream::Stationary(3).order(4, 4, 0), [3; 4]);
        assert_eq!(Stream::Sharp.order(8, 4, 0), [0, 0, 1, 1, 2, 2, 3, 3]);
        let abrupt = Stream::Abrupt { from: 1, to: 2 };
        assert_eq!(abrupt.order(5, 4, 0), [1, 1, 1, 2, 2]);
        let share = |order: &[usize], of| {
            order.iter().filter(|&&d| d == of).count() as f64 / order.len() as f64
        };
        let gradual = Stream::Gradual { from: 1, to: 2 }.order(4000, 4, 9);
        for (quarter, expected) in [(0, 0.125), (1, 0.375), (2, 0.625), (3, 0.875)] {
            let found = share(&gradual[quarter * 1000..][..1000], 2);
            assert!((found - expected).abs() < 0.05, "{found} {expected}");
        }
        let mixed = Stream::Interleaved { a: 1, b: 2 }.order(1000, 4, 9);
        assert!((share(&mixed, 1) - 0.5).abs() < 0.05);
        let all = Stream::Mixed.order(2000, 4, 9);
        assert!((0..4).all(|d| (share(&all, d) - 0.25).abs() < 0.05));
        assert!(mixed.windows(20).all(|w| w.contains(&1) && w.contains(&2)));
    }

    #[test]
    fn streams_are_chosen_by_name() {
        let chosen = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|w| w.to_string()).collect();
            Stream::chosen(&names(), &wanted).map(|all| all.into_iter().map(|s| s.0).collect())
        };
        let all: Vec<String> = chosen(&[]).unwrap_or_default();
        assert_eq!(all.len(), 9);
        let some: Vec<String> = chosen(&["stationary", "sharp"]).unwrap_or_default();
        assert_eq!(some, ["rust", "python", "sql", "math", "sharp"]);
        let one: Vec<String> = chosen(&["sql"]).unwrap_or_default();
        assert_eq!(one, ["sql"]);
        let none: crate::Result<Vec<String>> = chosen(&["finance"]);
        assert!(none.is_err_and(|e| e.to_string().contains("rust, python")));
        assert_eq!(Stream::all(&names()[..1]).len(), 1);
    }
}
