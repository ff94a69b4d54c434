// GELU by the tanh approximation: (1 + tanh(u)) / 2 is sigmoid(2u).
fn unary(v: itemf) -> itemf {
  let u = 0.7978845608 * (v + 0.044715 * v * v * v);
  return v / (1.0 + exp(-2.0 * u));
}
