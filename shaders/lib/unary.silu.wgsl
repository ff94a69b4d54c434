fn unary(v: itemf) -> itemf {
  return v / (1.0 + exp(-v));
}
