// load_a(row, k4): A = x, rows of X_STRIDE elements from x_offset on.
fn load_a(row: u32, k4: u32) -> vec4<f32> {
  return vec4<f32>(x[params.x_offset / 4u + row * (X_STRIDE / 4u) + k4]);
}
