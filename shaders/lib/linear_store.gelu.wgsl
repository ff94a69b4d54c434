// linear_store(row, n, v): columns n and n + 1 (n even) of the product are a gate and what it lets through, one
// column of y: gelu(gate) * up, with gelu's approximation by tanh: (1 + tanh(u)) / 2 is sigmoid(2u).
fn linear_store(row: u32, n: u32, v: vec2<f32>) {
  let u = 0.7978845608 * (v.x + 0.044715 * v.x * v.x * v.x);
  y[row * params.stride + (params.first + n) / 2u] = v.x / (1.0 + exp(-2.0 * u)) * v.y;
}
