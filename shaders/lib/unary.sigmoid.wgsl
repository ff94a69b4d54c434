fn unary(v: itemf) -> itemf {
  return 1.0 / (1.0 + exp(-v));
}
