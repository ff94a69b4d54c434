// load_a(row, k4): A = the patches of a convolution over x [batch, IN_H, IN_W, IN_C]: k runs over (ky, kx, channel).
fn load_a(row: u32, k4: u32) -> vec4<f32> {
  let tap = k4 / (IN_C / 4u);
  let c4 = k4 % (IN_C / 4u);
  let image = row / (OUT_H * OUT_W);
  let pixel = row % (OUT_H * OUT_W);
  // Positions left of or above the map wrap to large numbers, and fail the test below as those beyond it do.
  let iy = pixel / OUT_W * STRIDE + tap / SIDE - PAD;
  let ix = pixel % OUT_W * STRIDE + tap % SIDE - PAD;
  if iy >= IN_H || ix >= IN_W { return vec4<f32>(); }
  return vec4<f32>(x[((image * IN_H + iy) * IN_W + ix) * (IN_C / 4u) + c4]);
}
