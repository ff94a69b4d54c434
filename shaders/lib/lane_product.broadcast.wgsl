// lane_product: ROWS rows of x from row0 on × 16 output features, those of block `own`, in f32; each pair of
// neighbouring features goes to lane_store(row, n, v), which leaves out what is beyond the product. For each row v is
// Σ_k x[k] * g[k] * w[n, k], times 1 / sqrt(Σ_k x[k]² / K + eps) where NORM is set; else g and the factor are 1.
// For processors that run a subgroup as the lanes of their vectors: a load is one for each lane there, and a barrier
// parts a workgroup's subgroups for good. So an invocation has two features over all of the depth, and what all need
// of x each lane loads a share of and hands on.
// The kernel declares ROWS, NORM, LANES (invocations of a subgroup, a power of two), params, x, w, scales, aux and
// lane_store; a `weight` stands beside this file. Every invocation calls it. A row's sums run in one order, whatever
// ROWS and m.
const SHARES = max(8u / LANES, 1u);   // of eight values, a lane's

fn lane_product(row0: u32, own: u32, lid: u32) {
  // By counting: which lane of a subgroup an invocation is is the adapter's choice.
  let rank = subgroupExclusiveAdd(1u);
  let blocks = (params.k + 63u) / 64u;
  let mine = min(own, (params.n + 15u) / 16u - 1u) * blocks;
  let lane = lid % 8u * 4u;
  var c: array<vec2<f32>, ROWS>;
  var squares: array<f32, ROWS>;
  for (var block = 0u; block < blocks; block += 1u) {
    for (var half = 0u; half < 2u; half += 1u) {
      for (var part = 0u; part < 4u; part += 1u) {
        let even = weight(mine + block, lane + half, part);
        let odd = weight(mine + block, lane + 2u + half, part);
        let first = block * 64u + weight_depth(half, part);
        var at: array<u32, SHARES>;
        var gain: array<f32, SHARES>;
        //!unroll
        for (var j = 0u; j < SHARES; j += 1u) {
          let k = first + j * LANES + rank % 8u;
          at[j] = min(k, params.k - 1u);
          // What is beyond the depth is zero in w, and must not be added to the squares.
          gain[j] = select(0.0, 1.0, k < params.k);
        }
        //!unroll
        for (var i = 0u; i < ROWS; i += 1u) {
          let row = min(row0 + i, params.m - 1u) * params.k;
          var v: array<f32, SHARES>;
          //!unroll
          for (var j = 0u; j < SHARES; j += 1u) {
            let e = row + at[j];
            v[j] = x[e / 4u][e % 4u] * gain[j];
            if NORM {
              squares[i] = fma(v[j], v[j], squares[i]);
              v[j] *= aux[at[j] / 4u][at[j] % 4u];
            }
          }
          let low = vec4<f32>(
            subgroupBroadcast(v[0], 0u), subgroupBroadcast(v[0], 1u), subgroupBroadcast(v[0], 2u), subgroupBroadcast(v[0], 3u),
          );
          let high = vec4<f32>(
            subgroupBroadcast(v[SHARES - 1u], 4u % LANES), subgroupBroadcast(v[SHARES - 1u], 5u % LANES),
            subgroupBroadcast(v[SHARES - 1u], 6u % LANES), subgroupBroadcast(v[SHARES - 1u], 7u % LANES),
          );
          c[i] = vec2<f32>(
            lane_dot(high, even.high, lane_dot(low, even.low, c[i].x)),
            lane_dot(high, odd.high, lane_dot(low, odd.low, c[i].y)),
          );
        }
      }
    }
  }
  //!unroll
  for (var i = 0u; i < ROWS; i += 1u) {
    var factor = 1.0;
    if NORM {
      let all = subgroupAdd(select(0.0, squares[i], rank < 8u));
      factor = inverseSqrt(all / f32(params.k) + params.eps);
    }
    lane_store(row0 + i, own * 16u + lid % 8u * 2u, factor * c[i]);
  }
}

// a · b + c, always in the same order.
fn lane_dot(a: vec4<f32>, b: vec4<f32>, c: f32) -> f32 {
  return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, c))));
}
