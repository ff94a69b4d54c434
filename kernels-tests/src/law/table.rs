//! Toy models whose laws are known.

use cascadia::kernels::sample::Settings;
use cascadia::shader::noise;

/// Tokens of the prompt, and tokens that are looked at.
pub const PROMPT: [u32; 2] = [1, 2];
pub const LOOKED_AT: usize = 3;

/// A model: logits [V, V, V] of the next token by the last two.
#[derive(Clone)]
pub struct Table {
    pub vocab: usize,
    pub logits: Vec<f32>,
}

impl Table {
    pub fn random(seed: u32, vocab: usize) -> Self {
        let logits = noise(seed, vocab * vocab * vocab);
        Self { vocab, logits }
    }

    pub fn map(&self, f: impl Fn(usize, f32) -> f32) -> Self {
        let logits = self.logits.iter().enumerate();
        Self {
            vocab: self.vocab,
            logits: logits.map(|(i, &v)| f(i % self.vocab, v)).collect(),
        }
    }

    /// The likeliest token far above all others.
    pub fn one_hot(&self) -> Self {
        let mut sharp = self.clone();
        for row in sharp.logits.chunks_mut(self.vocab) {
            let most = row.iter().copied().fold(f32::MIN, f32::max);
            row.iter_mut()
                .for_each(|v| *v = if *v == most { 0.0 } else { f32::NEG_INFINITY });
        }
        sharp
    }

    /// The next token's probabilities after `context`, in f64 by the plainest code: [V].
    pub fn probabilities(&self, s: &Settings, context: &[u32]) -> Vec<f64> {
        let [.., x, y] = context else {
            panic!("two tokens at least")
        };
        let at = (*x as usize * self.vocab + *y as usize) * self.vocab;
        let mut row = self.logits[at..at + self.vocab].to_vec();
        for (c, v) in row.iter_mut().enumerate() {
            if context.contains(&(c as u32)) {
                *v = if *v > 0.0 {
                    *v / s.penalty
                } else {
                    *v * s.penalty
                };
            }
        }
        let most = row.iter().copied().fold(f32::MIN, f32::max);
        let weight = |v: f32| (f64::from(v - most) / f64::from(s.temperature)).exp();
        let mut kept: Vec<(usize, f64)> = row.iter().map(|&v| weight(v)).enumerate().collect();
        kept.sort_by(|a, b| b.1.total_cmp(&a.1));
        if s.top_k > 0 {
            kept.truncate(s.top_k as usize);
        }
        let total: f64 = kept.iter().map(|k| k.1).sum();
        let mut mass = 0.0;
        kept.retain(|k| {
            let before = mass;
            mass += k.1 / total;
            before < f64::from(s.top_p)
        });
        kept.retain(|k| k.1 >= f64::from(s.min_p));
        let total: f64 = kept.iter().map(|k| k.1).sum();
        let mut p = vec![0.0; self.vocab];
        for (c, w) in kept {
            p[c] = w / total;
        }
        p
    }

    /// The probability of every continuation of [`LOOKED_AT`] tokens: [V, V, V].
    pub fn law(&self, s: &Settings) -> Vec<f64> {
        let [x, y] = PROMPT;
        let v = self.vocab as u32;
        let mut law = Vec::new();
        for (a, first) in (0..v).zip(self.probabilities(s, &[x, y])) {
            for (b, second) in (0..v).zip(self.probabilities(s, &[x, y, a])) {
                let third = self.probabilities(s, &[x, y, a, b]);
                law.extend(third.iter().map(|third| first * second * third));
            }
        }
        law
    }
}

/// χ² of `counts` against `law`, bins of fewer than 5 expected pooled, as a standard normal (Wilson and Hilferty): how
/// many deviations above what such a law gives. Infinite where something came that cannot.
pub fn deviation(counts: &[u64], law: &[f64]) -> f64 {
    let n: u64 = counts.iter().sum();
    let (mut pool, mut bins, mut chi) = ((0.0, 0.0), 0usize, 0.0);
    let mut add = |expected: f64, found: f64| {
        chi += (found - expected) * (found - expected) / expected;
        bins += 1;
    };
    for (&found, &p) in counts.iter().zip(law) {
        if p == 0.0 && found > 0 {
            return f64::INFINITY;
        }
        let expected = p * n as f64;
        if expected >= 5.0 {
            add(expected, found as f64);
        } else {
            pool = (pool.0 + expected, pool.1 + found as f64);
            if pool.0 >= 5.0 {
                add(pool.0, pool.1);
                pool = (0.0, 0.0);
            }
        }
    }
    if pool.0 > 0.5 {
        add(pool.0, pool.1);
    }
    let df = (bins.max(2) - 1) as f64;
    let spread = 2.0 / (9.0 * df);
    ((chi / df).cbrt() - (1.0 - spread)) / spread.sqrt()
}
