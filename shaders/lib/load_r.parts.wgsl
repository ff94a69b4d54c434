// load_r(row, n4): the residual is the sum of r's parts, r [R_PARTS, m, N].
fn load_r(row: u32, n4: u32) -> vec4<f32> {
  var sum = vec4<f32>();
  for (var p = 0u; p < R_PARTS; p += 1u) { sum += vec4<f32>(r[(p * params.m + row) * (N / 4u) + n4]); }
  return sum;
}
