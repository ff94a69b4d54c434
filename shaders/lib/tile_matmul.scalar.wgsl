// tile_matmul: for t < ROWS and n < cols, tile_store(stage, t, n / 4, Σ_k tile[t, k] * w[k, n]), in f32.
//   tile  what tile_load returns, four numbers at a time; row t starts at a_at + t * a_stride (both in fours)
//   w     storage, elem4, rows of k; row k starts at w_at + k * w_stride (in elem4)
// The kernel declares ROWS (at least 4), WG, `w`, tile_load and tile_store. k and cols are multiples of 4. Every
// invocation calls it; the caller puts barriers around it. Rows at and beyond ROWS are neither read nor stored:
// where ROWS is not a multiple of 4, the last 4 rows are computed together, and stored once.
fn tile_matmul(stage: u32, lid: u32, a_at: u32, a_stride: u32, k: u32, w_at: u32, w_stride: u32, cols: u32) {
  let across = cols / 4u;
  for (var task = lid; task < across * ((ROWS + 3u) / 4u); task += WG) {
    let n4 = task % across;
    let first = task / across * 4u;
    let row = min(first, ROWS - 4u);
    var c0 = vec4<f32>();
    var c1 = vec4<f32>();
    var c2 = vec4<f32>();
    var c3 = vec4<f32>();
    var a = a_at + row * a_stride;
    var b = w_at + n4;
    var n0 = w[b];
    var n1 = w[b + w_stride];
    var n2 = w[b + 2u * w_stride];
    var n3 = w[b + 3u * w_stride];
    for (var k4 = 1u; k4 <= k / 4u; k4 += 1u) {
      let w0 = vec4<f32>(n0);
      let w1 = vec4<f32>(n1);
      let w2 = vec4<f32>(n2);
      let w3 = vec4<f32>(n3);
      // The next four rows of w, on their way while these are used; the last ones once more at the end.
      b += select(0u, 4u * w_stride, k4 < k / 4u);
      n0 = w[b];
      n1 = w[b + w_stride];
      n2 = w[b + 2u * w_stride];
      n3 = w[b + 3u * w_stride];
      let a0 = tile_load(a);
      let a1 = tile_load(a + a_stride);
      let a2 = tile_load(a + 2u * a_stride);
      let a3 = tile_load(a + 3u * a_stride);
      c0 += a0.x * w0 + a0.y * w1 + a0.z * w2 + a0.w * w3;
      c1 += a1.x * w0 + a1.y * w1 + a1.z * w2 + a1.w * w3;
      c2 += a2.x * w0 + a2.y * w1 + a2.z * w2 + a2.w * w3;
      c3 += a3.x * w0 + a3.y * w1 + a3.z * w2 + a3.w * w3;
      a += 1u;
    }
    if row >= first { tile_store(stage, row, n4, c0); }
    if row + 1u >= first { tile_store(stage, row + 1u, n4, c1); }
    if row + 2u >= first { tile_store(stage, row + 2u, n4, c2); }
    tile_store(stage, row + 3u, n4, c3);
  }
}
