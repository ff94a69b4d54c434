// distill: of one token with the target's p and the draft's q, (its term of the loss, its term of a sum that the
// gradient needs); and the gradient, given that sum.
// KL(q‖p): q (ln(q / p) - KL(q‖p)).
fn distill_ratio(p: f32, q: f32) -> f32 {
  return ln(max(q / max(p, TINY), TINY));
}

fn distill_terms(p: f32, q: f32, log_q: f32) -> vec2<f32> {
  return vec2(q * distill_ratio(p, q));
}

fn distill_slope(p: f32, q: f32, inner: f32) -> f32 {
  return q * (distill_ratio(p, q) - inner);
}
