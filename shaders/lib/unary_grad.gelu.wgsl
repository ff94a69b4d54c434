// Of v sigmoid(2u), u = 0.7978845608 (v + 0.044715 v³).
fn unary_grad(v: itemf) -> itemf {
  let u = 0.7978845608 * (v + 0.044715 * v * v * v);
  let s = 1.0 / (1.0 + exp(-2.0 * u));
  return s + v * s * (1.0 - s) * (1.5957691216 + 0.2140644488 * v * v);
}
