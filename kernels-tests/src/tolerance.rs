//! How far a result may be from the truth, in one place.
//!
//! The error of a kernel may be twice that of a naive implementation in the same precision, plus a floor: both
//! as the normalised mean square error, Σ(y - truth)² / Σ truth².

use cascadia::tensor::DType;

/// How many times the naive implementation's error a kernel's may be.
pub const FACTOR: f64 = 2.0;

/// The normalised mean square error that is always allowed.
pub fn floor(elem: DType) -> f64 {
    match elem {
        DType::F16 => 1e-6,
        _ => 1e-12,
    }
}

/// Σ(y - truth)² / Σ truth². Infinite where `y` has a NaN or an infinity that the truth has not.
pub fn nmse(y: &[f64], truth: &[f64]) -> f64 {
    let mut error = 0.0;
    let mut norm = 0.0;
    for (&a, &b) in y.iter().zip(truth) {
        if a.is_nan() != b.is_nan() || a.is_infinite() != b.is_infinite() {
            return f64::INFINITY;
        }
        if b.is_finite() {
            error += (a - b) * (a - b);
            norm += b * b;
        }
    }
    if y.len() != truth.len() {
        return f64::INFINITY;
    }
    if norm == 0.0 { error } else { error / norm }
}

/// `Ok` where `y` is as near to `truth` as it must be, else how far it is.
pub fn near(y: &[f64], truth: &[f64], naive: &[f64], elem: DType) -> Result<(), String> {
    let (error, of_naive) = (nmse(y, truth), nmse(naive, truth));
    let most = FACTOR * FACTOR * of_naive + floor(elem);
    if error <= most {
        return Ok(());
    }
    let worst = (0..y.len().min(truth.len()))
        .max_by(|&i, &j| {
            let d = |i: usize| {
                let d = (y[i] - truth[i]).abs();
                if d.is_nan() { f64::INFINITY } else { d }
            };
            d(i).total_cmp(&d(j))
        })
        .unwrap_or(0);
    Err(format!(
        "NMSE {error:.3e}, allowed {most:.3e} (naive {of_naive:.3e}); worst at {worst} of {}: {} for {}",
        truth.len(),
        y.get(worst).copied().unwrap_or(f64::NAN),
        truth.get(worst).copied().unwrap_or(f64::NAN),
    ))
}
