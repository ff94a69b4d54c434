// skinny: the product of up to 16 rows with 16 * NB output features, those of blocks group * NB and on, on matrix
// units; each pair of neighbouring features goes to product_store(row, n, v). For each row v is
// Σ_k f16(x[k]) * w[n, k], times what the norm makes of the row where NORM is set.
// The kernel declares ROWS (even), NB, DEPTH, NORM, WG (256 or 128), elem4 of f16, params, x, aux and product_store,
// and takes a coop `weight` beside this file. Every invocation calls it.
// Each of the TEAMS subgroups takes every TEAMS-th block along the depth and never waits for another before the end:
// what it multiplies passes through its own part of workgroup memory. So one order of sums holds for every ROWS, NB, DEPTH
// and m. Blocks beyond the depth are read again, and meet zeros of x.
const TEAMS = WG / 32u;
const ROW4 = 18u;               // elem4 from one row of a tile to the next: 64 elements, and 16 bytes that keep
const TILE4 = 16u * ROW4;       // rows in different banks
const PAIRS = ROWS / 2u;
var<workgroup> x_tile: array<elem4, TEAMS * TILE4>;   // for each subgroup [16 rows, 64 of depth]
var<workgroup> w_tile: array<elem4, TEAMS * TILE4>;   // for each subgroup [16 features, 64 of depth]
var<workgroup> sums: array<f32, TEAMS * 256u>;        // for each subgroup [16 rows, 16]
var<workgroup> factor: array<f32, 16>;

fn skinny(group: u32, lid: u32) {
  let team = lid / 32u;
  let lane = lid % 32u;
  let tile = team * TILE4;
  let x_to = tile + lane / 16u * ROW4 + lane % 16u;
  let blocks = (params.k + 63u) / 64u;
  let k4 = params.k / 4u;
  let first = group * NB;
  let features = (params.n + 15u) / 16u;
  for (var i = lane; i < TILE4; i += 32u) { x_tile[tile + i] = elem4(); }
  subgroupBarrier();

  var c: array<coop_mat16x16<f32, C>, NB>;
  //!unroll
  for (var j = 0u; j < NB; j += 1u) { c[j] = coop_mat16x16<f32, C>(); }
  var pieces: array<Piece, NB * DEPTH>;
  //!unroll
  for (var d = 0u; d < DEPTH; d += 1u) {
    let block = min(d * TEAMS + team, blocks - 1u);
    //!unroll
    for (var j = 0u; j < NB; j += 1u) {
      pieces[d * NB + j] = weight_fetch(min(first + j, features - 1u) * blocks + block, lane);
    }
  }
  var rows: array<vec4<f32>, PAIRS>;
  var squares: array<f32, PAIRS>;
  var gain = vec4<f32>(1.0);
  let x_at = min(team * 16u + lane % 16u, k4 - 1u);
  //!unroll
  for (var i = 0u; i < PAIRS; i += 1u) { rows[i] = x[min(i * 2u + lane / 16u, params.m - 1u) * k4 + x_at]; }
  if NORM { gain = aux[x_at]; }

  for (var round = 0u; round * TEAMS < blocks; round += DEPTH) {
    //!unroll
    for (var d = 0u; d < DEPTH; d += 1u) {
      let block = (round + d) * TEAMS + team;
      let inside = select(0.0, 1.0, block * 16u + lane % 16u < k4);
      //!unroll
      for (var i = 0u; i < PAIRS; i += 1u) {
        let v = rows[i] * inside;
        if NORM { squares[i] = fma(v.w, v.w, fma(v.z, v.z, fma(v.y, v.y, fma(v.x, v.x, squares[i])))); }
        x_tile[x_to + i * 2u * ROW4] = elem4(v * gain);
      }
      // The next of x and, as far as DEPTH looks ahead, of w are on their way while these are used.
      let at = min((block + TEAMS) * 16u + lane % 16u, k4 - 1u);
      //!unroll
      for (var i = 0u; i < PAIRS; i += 1u) { rows[i] = x[min(i * 2u + lane / 16u, params.m - 1u) * k4 + at]; }
      if NORM { gain = aux[at]; }
      subgroupBarrier();
      let a0 = coopLoadT<coop_mat16x16<f16, A>>(&x_tile[tile], ROW4);
      let a1 = coopLoadT<coop_mat16x16<f16, A>>(&x_tile[tile + 4u], ROW4);
      let a2 = coopLoadT<coop_mat16x16<f16, A>>(&x_tile[tile + 8u], ROW4);
      let a3 = coopLoadT<coop_mat16x16<f16, A>>(&x_tile[tile + 12u], ROW4);
      let ahead = min(block + DEPTH * TEAMS, blocks - 1u);
      //!unroll
      for (var j = 0u; j < NB; j += 1u) {
        weight_expand(pieces[d * NB + j], tile, lane);
        pieces[d * NB + j] = weight_fetch(min(first + j, features - 1u) * blocks + ahead, lane);
        subgroupBarrier();
        let b0 = coopLoad<coop_mat16x16<f16, B>>(&w_tile[tile], ROW4);
        let b1 = coopLoad<coop_mat16x16<f16, B>>(&w_tile[tile + 4u], ROW4);
        let b2 = coopLoad<coop_mat16x16<f16, B>>(&w_tile[tile + 8u], ROW4);
        let b3 = coopLoad<coop_mat16x16<f16, B>>(&w_tile[tile + 12u], ROW4);
        c[j] = coopMultiplyAdd(a0, b0, c[j]);
        c[j] = coopMultiplyAdd(a1, b1, c[j]);
        c[j] = coopMultiplyAdd(a2, b2, c[j]);
        c[j] = coopMultiplyAdd(a3, b3, c[j]);
        subgroupBarrier();
      }
    }
  }

  if NORM {
    //!unroll
    for (var i = 0u; i < PAIRS; i += 1u) { sums[team * 256u + i * 32u + lane] = squares[i]; }
    workgroupBarrier();
    for (var i = lid; i < 256u; i += WG) {
      for (var t = 1u; t < TEAMS; t += 1u) { sums[i] += sums[t * 256u + i]; }
    }
    workgroupBarrier();
    if lid < ROWS {
      var sum = 0.0;
      for (var i = 0u; i < 16u; i += 1u) { sum += sums[lid * 16u + i]; }
      factor[lid] = inverseSqrt(sum / f32(params.k) + params.eps);
    }
    workgroupBarrier();
  }
  //!unroll
  for (var j = 0u; j < NB; j += 1u) {
    coopStoreT(c[j], &sums[team * 256u], 16u);
    workgroupBarrier();
    let row = lid / 8u;
    let n = (first + j) * 16u + lid % 8u * 2u;
    if row < params.m && n < params.n {
      var v = vec2<f32>();
      for (var t = 0u; t < TEAMS; t += 1u) {
        let at = t * 256u + lid * 2u;
        v += vec2<f32>(sums[at], sums[at + 1u]);
      }
      if NORM { v *= factor[row]; }
      product_store(row, n, v * params.scale);
    }
    workgroupBarrier();
  }
}
