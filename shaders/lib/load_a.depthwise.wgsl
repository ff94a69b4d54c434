// load_a(row, k4): A = a 3×3 depthwise convolution of x [batch, IN_H, IN_W, K], padded by 1, with weights and
// bias in aux [9 + 1, K].
fn load_a(row: u32, k4: u32) -> vec4<f32> {
  let ox = row % IN_W;
  let oy = row / IN_W % IN_H;
  var sum = vec4<f32>(aux[9u * (K / 4u) + k4]);
  for (var ky = 0u; ky < 3u; ky += 1u) {
    for (var kx = 0u; kx < 3u; kx += 1u) {
      // Not in a branch, so that all nine loads are in flight at once.
      let inside = oy + ky - 1u < IN_H && ox + kx - 1u < IN_W;
      let at = select(row, row + ky * IN_W + kx - IN_W - 1u, inside) * (K / 4u) + k4;
      let tap = vec4<f32>(aux[(ky * 3u + kx) * (K / 4u) + k4]);
      sum = fma(vec4<f32>(x[at]), select(vec4<f32>(), tap, inside), sum);
    }
  }
  return sum;
}
