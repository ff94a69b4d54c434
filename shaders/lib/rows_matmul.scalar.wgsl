// rows_matmul: for t < rows and n < CHUNK, rows_store(t, n / 4, Σ_k x[row0 + t, k] * w[k, 4 n0 + n]), in f32.
// The kernel declares K, N, CHUNK, WG, `x` [_, K] and `w` [K, N] of elem4 in storage, and rows_store. Every
// invocation calls it; the caller puts barriers around it. One invocation computes 8 rows × 4 columns at a time.
fn rows_matmul(lid: u32, row0: u32, rows: u32, n0: u32) {
  let k4s = K / 4u;
  for (var task = lid; task < (rows + 7u) / 8u * (CHUNK / 4u); task += WG) {
    let n4 = task % (CHUNK / 4u);
    let row = task / (CHUNK / 4u) * 8u;
    var c: array<vec4<f32>, 8>;
    var a: array<u32, 8>;
    for (var i = 0u; i < 8u; i += 1u) {
      c[i] = vec4<f32>();
      a[i] = (row0 + min(row + i, rows - 1u)) * k4s;
    }
    for (var k4 = 0u; k4 < k4s; k4 += 1u) {
      let at = k4 * N + n0 + n4;
      let w0 = vec4<f32>(w[at]);
      let w1 = vec4<f32>(w[at + N / 4u]);
      let w2 = vec4<f32>(w[at + N / 2u]);
      let w3 = vec4<f32>(w[at + N / 2u + N / 4u]);
      for (var i = 0u; i < 8u; i += 1u) {
        let v = vec4<f32>(x[a[i] + k4]);
        c[i] += v.x * w0 + v.y * w1 + v.z * w2 + v.w * w3;
      }
    }
    for (var i = 0u; i < 8u; i += 1u) {
      if row + i < rows { rows_store(row + i, n4, c[i]); }
    }
  }
}
