fn unary_grad(v: itemf) -> itemf {
  return select(itemf(), itemf(1.0), v > itemf());
}
