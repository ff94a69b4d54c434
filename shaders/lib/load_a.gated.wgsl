// load_a(row, k4): A = x [batch, OUT_H * OUT_W, K] times its image's gate aux [batch, K].
fn load_a(row: u32, k4: u32) -> vec4<f32> {
  let gate = vec4<f32>(aux[row / (OUT_H * OUT_W) * (K / 4u) + k4]);
  return vec4<f32>(x[row * (K / 4u) + k4]) * gate;
}
