// skinny: the product of up to 16 rows with 16 output features, those of block `group`, in f32; each pair of
// neighbouring features goes to product_store(row, n, v). For each row v is Σ_k x[k] * w[n, k], times what the
// norm makes of the row where NORM is set.
// The kernel declares ROWS, NORM, WG (a multiple of 32), params, x, w, scales, aux and product_store. Every
// invocation calls it.
// A row's sums run in one order, whatever ROWS and m: lane l of 32 takes feature l / 2, part l % 2 of every
// (WG / 32)-th block along the depth; then their sums are added in the order of their numbers.
const TEAMS = WG / 32u;
const BATCH = min(ROWS, 4u);   // rows whose sums pass through workgroup memory at once
var<workgroup> sums: array<vec2<f32>, BATCH * WG>;  // [BATCH, WG]: the product, the squares

fn skinny(group: u32, lid: u32) {
  let lane = lid % 32u;
  let blocks = (params.k + 63u) / 64u;
  let last4 = params.k / 4u - 1u;
  var c: array<f32, ROWS>;
  var squares: array<f32, ROWS>;
  for (var block = lid / 32u; block < blocks; block += TEAMS) {
    //!unroll
    for (var part = 0u; part < 4u; part += 1u) {
      let eight = weight(group * blocks + block, lane, part);
      let k4 = block * 16u + weight_depth(lane, part) / 4u;
      // What is beyond the depth is zero in w, and must not be added to the squares.
      let inside = select(vec2<f32>(), vec2<f32>(1.0), vec2<bool>(k4 <= last4, k4 < last4));
      let at = min(vec2<u32>(k4, k4 + 1u), vec2<u32>(last4));
      var gain0 = vec4<f32>(1.0);
      var gain1 = vec4<f32>(1.0);
      if NORM {
        gain0 = aux[at.x];
        gain1 = aux[at.y];
      }
      let w0 = eight.low * gain0;
      let w1 = eight.high * gain1;
      //!unroll
      for (var i = 0u; i < ROWS; i += 1u) {
        let row = min(i, params.m - 1u) * (last4 + 1u);
        let x0 = x[row + at.x] * inside.x;
        let x1 = x[row + at.y] * inside.y;
        c[i] = skinny_dot(x1, w1, skinny_dot(x0, w0, c[i]));
        if NORM { squares[i] = skinny_dot(x1, x1, skinny_dot(x0, x0, squares[i])); }
      }
    }
  }
  //!unroll
  for (var first = 0u; first < ROWS; first += BATCH) {
    //!unroll
    for (var i = 0u; i < BATCH; i += 1u) {
      sums[i * WG + lid] = vec2<f32>(c[min(first + i, ROWS - 1u)], squares[min(first + i, ROWS - 1u)]);
    }
    workgroupBarrier();
    if lid < BATCH * 8u {
      let mine = lid / 8u * WG + lid % 8u * 4u;
      var even = vec2<f32>();
      var odd = vec2<f32>();
      for (var team = 0u; team < TEAMS; team += 1u) {
        let at = mine + team * 32u;
        even += sums[at] + sums[at + 1u];
        odd += sums[at + 2u] + sums[at + 3u];
      }
      var factor = params.scale;
      if NORM { factor *= inverseSqrt(even.y / f32(params.k) + params.eps); }
      let row = first + lid / 8u;
      let n = group * 16u + lid % 8u * 2u;
      if row < params.m && n < params.n {
        product_store(row, n, factor * vec2<f32>(even.x, odd.x));
      }
    }
    workgroupBarrier();
  }
}

// a · b + c, always in the same order.
fn skinny_dot(a: vec4<f32>, b: vec4<f32>, c: f32) -> f32 {
  return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, c))));
}
