// load_r(row, n4): no residual.
fn load_r(row: u32, n4: u32) -> vec4<f32> {
  return vec4<f32>();
}
