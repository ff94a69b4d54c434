// load_r(row, n4): the residual is r [m, N].
fn load_r(row: u32, n4: u32) -> vec4<f32> {
  return vec4<f32>(r[row * (N / 4u) + n4]);
}
