// distill: of one token with the target's p and the draft's q, (its term of the loss, its term of a sum that the
// gradient needs); and the gradient, given that sum.
// β KL(p‖m) + (1 - β) KL(q‖m), m = β p + (1 - β) q: (1 - β) q (ln(q / m) - KL(q‖m)).
fn distill_middle(p: f32, q: f32) -> f32 {
  return max(params.beta * p + (1.0 - params.beta) * q, TINY);
}

fn distill_terms(p: f32, q: f32, log_q: f32) -> vec2<f32> {
  let m = distill_middle(p, q);
  let inner = q * ln(max(q / m, TINY));
  return vec2(params.beta * p * ln(max(p / m, TINY)) + (1.0 - params.beta) * inner, inner);
}

fn distill_slope(p: f32, q: f32, inner: f32) -> f32 {
  return (1.0 - params.beta) * q * (ln(max(q / distill_middle(p, q), TINY)) - inner);
}
