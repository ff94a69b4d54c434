//! Models that have learned nothing yet.

use crate::error::{Error, Result};
use crate::io::{LanguageFiles, serialize};
use crate::models::language::{Config, T5Config};
use crate::models::t5::T5;
use crate::tensor::Tensor;
use std::path::Path;

/// The deviation of drawn weights where config.json says none (`initializer_range`), as in transformers.
const DEVIATION: f64 = 0.02;

/// Parameters of a model that is begun, at most: with gradients and moments they take 64 GiB.
const MOST: u64 = 1 << 32;

/// A model as the file `config` (a config.json) describes it, with the tokenizer of the folder `tokenizer` and weights
/// to begin a training with, as transformers draws them: norms are one, biases zero, and matrices and the embedding are
/// normal, of a Llama with the deviation that `initializer_range` says (0.02 without it), of T5 with that of their place
/// times `initializer_factor` (1 without it). The same `seed` draws the same weights.
///
/// # Errors
/// [`Error::File`] and [`Error::Io`] where the configuration is of no model that is built.
pub fn fresh(config: &Path, tokenizer: &Path, seed: u64) -> Result<LanguageFiles> {
    LanguageFiles::made(config, tokenizer, |value| {
        let number = |field: &str, otherwise: f64| match value.get(field) {
            None => Ok(otherwise),
            Some(said) => (said.as_f64())
                .filter(|v| *v > 0.0 && v.is_finite())
                .ok_or_else(|| Error::file(config, format!("`{field}` is no number above 0"))),
        };
        let sizes = Config::parse(config, value)?;
        let parameters = sizes.about();
        if parameters.is_none_or(|n| n > MOST) {
            let count = parameters.map_or(format!("more than {}", u64::MAX), |n| n.to_string());
            let message = format!(
                "describes a model of {count} parameters; expected at most {MOST}, as each is trained in f32 with its moments"
            );
            return Err(Error::file(config, message));
        }
        // Names, shapes and deviations.
        let all: Vec<(String, Vec<usize>, f64)> = match sizes {
            Config::Decoder(sizes) => {
                let deviation = number("initializer_range", DEVIATION)?;
                let all = sizes.tensors().into_iter();
                all.map(|(name, shape)| (name, shape, deviation)).collect()
            }
            Config::T5(sizes) => {
                let factor = number("initializer_factor", 1.0)?;
                let model = T5::new(&sizes, !sizes.tied);
                (model.weights().into_iter().flat_map(|w| w.sources.clone()))
                    .map(|s| {
                        let deviation = factor * of_place(&sizes, &s.name);
                        (s.name, s.shape, deviation)
                    })
                    .collect()
            }
        };
        let mut tensors = Vec::new();
        for (i, (name, shape, deviation)) in all.into_iter().enumerate() {
            let n = shape.iter().product();
            let values = match shape.len() {
                1 if name.ends_with(".bias") => vec![0.0; n],
                1 => vec![1.0; n],
                _ => normal(mixed(mixed(seed) ^ i as u64), n, deviation),
            };
            tensors.push((name, Tensor::from_f32(&shape, &values)?));
        }
        serialize(config, &tensors, None)
    })
}

/// The deviation of T5's matrix `name`: what keeps products of normal rows at their size, where queries make up for scores
/// that are not divided by the root of a head's width.
fn of_place(c: &T5Config, name: &str) -> f64 {
    let root = |n: usize| (n as f64).powf(-0.5);
    match name.rsplit('.').nth(1) {
        Some("shared" | "lm_head") => 1.0,
        Some("q") => root(c.hidden * c.head_dim),
        Some("o") => root(c.heads * c.head_dim),
        Some("wo") => root(c.intermediate),
        _ => root(c.hidden),
    }
}

/// `n` values of a normal distribution around 0 (Box and Muller, 1958).
fn normal(seed: u64, n: usize, deviation: f64) -> Vec<f32> {
    // 53 bits, in the middle of their step: never 0, whose logarithm is none.
    let uniform = |i: u64| ((mixed(seed ^ mixed(i)) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    let pairs = (0..n.div_ceil(2) as u64).flat_map(|i| {
        let radius = deviation * (-2.0 * uniform(2 * i).ln()).sqrt();
        let angle = std::f64::consts::TAU * uniform(2 * i + 1);
        [radius * angle.cos(), radius * angle.sin()]
    });
    pairs.take(n).map(|v| v as f32).collect()
}

/// Steele, Lea and Flood's finaliser ("Fast splittable pseudorandom number generators"): neighbours become unlike.
pub fn mixed(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn what_is_drawn_is_normal() {
        let drawn = normal(7, 100_001, 0.02);
        assert_eq!(drawn.len(), 100_001);
        let mean = |f: &dyn Fn(f64) -> f64| {
            drawn.iter().map(|&v| f(f64::from(v) / 0.02)).sum::<f64>() / drawn.len() as f64
        };
        // Moments, and the share within one deviation; each within five deviations of such a mean.
        let expected: [(f64, f64, f64); 4] = [
            (mean(&|v| v), 0.0, 0.016),
            (mean(&|v| v * v), 1.0, 0.023),
            (mean(&|v| v.powi(4)), 3.0, 0.16),
            (mean(&|v| f64::from(u8::from(v.abs() < 1.0))), 0.6827, 0.008),
        ];
        for (found, expected, within) in expected {
            assert!((found - expected).abs() < within, "{found} for {expected}");
        }
        // Neighbours have nothing to do with each other.
        let pairs = drawn.windows(2).map(|w| f64::from(w[0]) * f64::from(w[1]));
        assert!(pairs.sum::<f64>().abs() / 4e-4 / 1e5 < 0.016);
        assert_eq!(drawn, normal(7, 100_001, 0.02));
        assert_ne!(drawn, normal(8, 100_001, 0.02));
    }
}
