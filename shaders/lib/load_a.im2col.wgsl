// load_a(row, k4): A = the patches of a convolution over x [batch, IN_H, IN_W, IN_C]: k runs over (ky, kx, channel).
fn load_a(row: u32, k4: u32) -> vec4<f32> {
  let tap = k4 / (IN_C / 4u);
  let c4 = k4 % (IN_C / 4u);
  let image = row / (OUT_H * OUT_W);
  let pixel = row % (OUT_H * OUT_W);
  // Positions left of or above the map wrap to large numbers, and fail the test as those beyond it do. The load is
  // not in a branch, so that many are in flight at once.
  let iy = pixel / OUT_W * STRIDE + tap / SIDE - PAD;
  let ix = pixel % OUT_W * STRIDE + tap % SIDE - PAD;
  let inside = iy < IN_H && ix < IN_W;
  let at = (image * IN_H + min(iy, IN_H - 1u)) * IN_W + min(ix, IN_W - 1u);
  return select(vec4<f32>(), vec4<f32>(x[at * (IN_C / 4u) + c4]), inside);
}
