// linear_store(row, n, v): columns n and n + 1 (n even) of a row of the product, as they are.
fn linear_store(row: u32, n: u32, v: vec2<f32>) {
  let at = row * params.stride + params.first + n;
  y[at] = v.x;
  if n + 1u < params.n { y[at + 1u] = v.y; }
}
