// wide: a tile of 128 rows from row0 on × 16 * WG / 32 output features from block `first` on, on matrix units; each
// pair of neighbouring features goes to product_store(row, n, v), which leaves out what is beyond the product.
// The kernel declares WG (256 or 128), elem4 of f16, params, x and product_store; a coop `weight` stands beside this
// file. Every invocation calls it. 64 of depth at a time pass through workgroup memory as f16, while the next are on
// their way to registers. A subgroup stages 16 features and owns 32 rows × BN / 2 or, of four subgroups, BN of them.
const TEAMS = WG / 32u;
const BM = 128u;
const BN = TEAMS * 16u;
const ROW4 = 18u;                 // elem4 from one row of a tile to the next: 64 of depth, and 16 bytes that keep
const ACROSS = 4u;                // rows in different banks; matrices of a subgroup along n: it has 2 along m
const LOADS = BM * 16u / WG;      // of x by each invocation
var<workgroup> x_tile: array<elem4, BM * ROW4>;
var<workgroup> w_tile: array<elem4, BN * ROW4>;
var<workgroup> sums: array<f32, TEAMS * 256u>;   // for each subgroup [16, 16]

fn wide(row0: u32, first: u32, lid: u32) {
  let team = lid / 32u;
  let lane = lid % 32u;
  let blocks = (params.k + 63u) / 64u;
  let features = (params.n + 15u) / 16u;
  let k4 = params.k / 4u;
  let w_row = min(first + team, features - 1u) * blocks;
  let down = team % 4u * 32u;
  let right = team / 4u * 64u;
  var c: array<coop_mat16x16<f32, C>, 2u * ACROSS>;
  //!unroll
  for (var i = 0u; i < 2u * ACROSS; i += 1u) { c[i] = coop_mat16x16<f32, C>(); }
  var piece = weight_fetch(w_row, lane);
  var rows: array<vec4<f32>, LOADS>;
  //!unroll
  for (var i = 0u; i < LOADS; i += 1u) {
    let at = lid + i * WG;
    rows[i] = x[min(row0 + at / 16u, params.m - 1u) * k4 + min(at % 16u, k4 - 1u)];
  }
  for (var block = 0u; block < blocks; block += 1u) {
    weight_expand(piece, team * 16u * ROW4, lane);
    let inside = select(0.0, 1.0, block * 16u + lane % 16u < k4);
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) {
      let at = lid + i * WG;
      x_tile[at / 16u * ROW4 + at % 16u] = elem4(rows[i] * inside);
    }
    workgroupBarrier();
    let ahead = min(block + 1u, blocks - 1u);
    piece = weight_fetch(w_row + ahead, lane);
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) {
      let at = lid + i * WG;
      rows[i] = x[min(row0 + at / 16u, params.m - 1u) * k4 + min(ahead * 16u + at % 16u, k4 - 1u)];
    }
    for (var k = 0u; k < 16u; k += 4u) {
      let a_at = down * ROW4 + k;
      let a_below = a_at + 16u * ROW4;
      let a0 = coopLoadT<coop_mat16x16<f16, A>>(&x_tile[a_at], ROW4);
      let a1 = coopLoadT<coop_mat16x16<f16, A>>(&x_tile[a_below], ROW4);
      //!unroll
      for (var i = 0u; i < ACROSS; i += 1u) {
        let b_at = (right + i * 16u) * ROW4 + k;
        let b = coopLoad<coop_mat16x16<f16, B>>(&w_tile[b_at], ROW4);
        c[2u * i] = coopMultiplyAdd(a0, b, c[2u * i]);
        c[2u * i + 1u] = coopMultiplyAdd(a1, b, c[2u * i + 1u]);
      }
    }
    workgroupBarrier();
  }
  let mine = team * 256u;
  //!unroll
  for (var i = 0u; i < 2u * ACROSS; i += 1u) {
    coopStoreT(c[i], &sums[mine], 16u);
    subgroupBarrier();
    for (var j = lane; j < 128u; j += 32u) {
      let row = row0 + down + i % 2u * 16u + j / 8u;
      let n = first * 16u + right + i / 2u * 16u + j % 8u * 2u;
      product_store(row, n, vec2<f32>(sums[mine + j * 2u], sums[mine + j * 2u + 1u]));
    }
    subgroupBarrier();
  }
}
