//! Rotary positions (arXiv 2104.09864), and how they are stretched beyond the positions of the training.

use super::fields::Fields;
use crate::error::Result;

/// The angles of rotary positions: element pair i of a head of D turns by position × `base`^(-2i/D), scaled.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    /// `rope_theta`
    pub base: f64,
    pub scaling: Scaling,
}

/// What becomes of the frequencies.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    None,
    /// All are divided by `factor`.
    Linear {
        factor: f64,
    },
    /// Llama 3.1's: waves longer than `original` / `low` positions are divided by `factor`, those shorter than
    /// `original` / `high` are kept, between them one blends into the other.
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original: usize,
    },
    /// Each is divided by its own factor, as GGUF files say it: D/2 of them.
    Factors(Vec<f64>),
}

impl Rotary {
    /// Reads `rope_parameters`, or `rope_scaling` and `rope_theta` as files before transformers 5 have them.
    pub(super) fn parse(fields: &Fields, head_dim: usize, max_positions: usize) -> Result<Self> {
        const BASE: f64 = 10000.0;
        let outer = fields.maybe_positive("rope_theta")?;
        let old = fields.object("rope_scaling", "rope_scaling.")?;
        let new = fields.object("rope_parameters", "rope_parameters.")?;
        let Some(given) = old.or(new) else {
            return Ok(Self {
                base: outer.unwrap_or(BASE),
                scaling: Scaling::None,
            });
        };
        let partial = match given.maybe_positive("partial_rotary_factor")? {
            None => fields.maybe_positive("partial_rotary_factor")?,
            some => some,
        };
        if let Some(part) = partial.filter(|part| *part != 1.0) {
            return fields.fault(format_args!(
                "`partial_rotary_factor` is {part}, which is not built; expected 1: all of a head turns"
            ));
        }
        let base = given
            .maybe_positive("rope_theta")?
            .or(outer)
            .unwrap_or(BASE);
        let kind = match given.text("rope_type")? {
            None => given.text("type")?,
            some => some,
        };
        let scaling = match kind.unwrap_or("default") {
            "default" => Scaling::None,
            "linear" => Scaling::Linear {
                factor: given.positive("factor")?,
            },
            "llama3" => {
                let (low, high) = (
                    given.positive("low_freq_factor")?,
                    given.positive("high_freq_factor")?,
                );
                if high <= low {
                    return fields.fault(format_args!(
                        "rotary `high_freq_factor` is {high}, not above `low_freq_factor`, {low}"
                    ));
                }
                let original = given.maybe_count("original_max_position_embeddings")?;
                Scaling::Llama3 {
                    factor: given.positive("factor")?,
                    low,
                    high,
                    original: original.unwrap_or(max_positions),
                }
            }
            "factors" => {
                let factors = given.positives("factors")?.unwrap_or_default();
                if factors.len() != head_dim / 2 {
                    return fields.fault(format_args!(
                        "there are {} rotary factors for heads of {head_dim}; expected {}",
                        factors.len(),
                        head_dim / 2
                    ));
                }
                Scaling::Factors(factors)
            }
            other => {
                return fields.fault(format_args!(
                    "rotary type `{}` is not built; expected default, linear or llama3",
                    other.escape_debug()
                ));
            }
        };
        Ok(Self { base, scaling })
    }

    /// The angle by which each of the `head_dim`/2 pairs turns from a position to the next.
    pub fn frequencies(&self, head_dim: usize) -> Vec<f64> {
        let one = |i: usize| {
            let plain = self.base.powf(-((2 * i) as f64) / head_dim as f64);
            match &self.scaling {
                Scaling::None => plain,
                Scaling::Linear { factor } => plain / factor,
                Scaling::Factors(factors) => plain / factors.get(i).copied().unwrap_or(1.0),
                &Scaling::Llama3 {
                    factor,
                    low,
                    high,
                    original,
                } => {
                    let waves = original as f64 * plain / std::f64::consts::TAU;
                    // 0 for a wave too long, 1 for one short enough.
                    let kept = ((waves - low) / (high - low)).clamp(0.0, 1.0);
                    plain * ((1.0 - kept) / factor + kept)
                }
            }
        };
        (0..head_dim / 2).map(one).collect()
    }
}

/// (cos, sin) of every angle, [`capacity`, `head_dim`/2, 2], computed in f64 and rounded once: a shader's own cosine
/// of a large angle is not exact.
pub fn rotary_table(rotary: &Rotary, head_dim: usize, capacity: usize) -> Vec<f32> {
    let frequencies = rotary.frequencies(head_dim);
    let mut out = Vec::with_capacity(capacity * head_dim);
    for position in 0..capacity {
        for frequency in &frequencies {
            let (sin, cos) = (position as f64 * frequency).sin_cos();
            out.extend([cos as f32, sin as f32]);
        }
    }
    out
}
