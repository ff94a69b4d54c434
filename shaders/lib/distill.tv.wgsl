// distill: of one token with the target's p and the draft's q, (its term of the loss, its term of a sum that the
// gradient needs); and the gradient, given that sum.
// -Σ min(p, q), the share of tokens accepted: -q (1[q < p] - Σ q 1[q < p]). What differs by rounding is equal.
fn distill_below(p: f32, q: f32) -> f32 {
  return select(0.0, 1.0, q < p * 0.99993896484375);
}

fn distill_terms(p: f32, q: f32, log_q: f32) -> vec2<f32> {
  return vec2(-min(p, q), q * distill_below(p, q));
}

fn distill_slope(p: f32, q: f32, inner: f32) -> f32 {
  return -q * (distill_below(p, q) - inner);
}
