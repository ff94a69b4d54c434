// linear_store(row, n, v): columns n and n + 1 (n even) of the product are a gate and what it lets through, one
// column of y: silu(gate) * up.
fn linear_store(row: u32, n: u32, v: vec2<f32>) {
  y[row * params.stride + (params.first + n) / 2u] = v.x / (1.0 + exp(-v.x)) * v.y;
}
