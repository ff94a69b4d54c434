// linear_store(row, n, v): columns n and n + 1 (n even) of a row of the product, or zero where they are negative.
fn linear_store(row: u32, n: u32, v: vec2<f32>) {
  let at = row * params.stride + params.first + n;
  y[at] = max(v.x, 0.0);
  if n + 1u < params.n { y[at + 1u] = max(v.y, 0.0); }
}
