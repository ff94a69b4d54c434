fn unary_grad(v: itemf) -> itemf {
  let s = 1.0 / (1.0 + exp(-v));
  return s + v * s * (1.0 - s);
}
