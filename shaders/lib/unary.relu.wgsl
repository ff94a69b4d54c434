fn unary(v: itemf) -> itemf {
  return max(v, itemf());
}
