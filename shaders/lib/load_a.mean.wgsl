// load_a(row, k4): A = params.scale times the sum of x [row, IN_H * IN_W, K] over its positions.
fn load_a(row: u32, k4: u32) -> vec4<f32> {
  var sum = vec4<f32>();
  for (var p = 0u; p < IN_H * IN_W; p += 1u) {
    sum += vec4<f32>(x[(row * (IN_H * IN_W) + p) * (K / 4u) + k4]);
  }
  return sum * params.scale;
}
