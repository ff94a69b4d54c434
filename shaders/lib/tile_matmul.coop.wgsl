// tile_matmul: for t < ROWS and n < cols, tile_store(stage, t, n / 4, Σ_k tile[t, k] * w[k, n]), on matrix units.
//   tile  workgroup memory, elem4 of f16; row t starts at a_at + t * a_stride (both in elem4)
//   w     storage, elem4 of f16, rows of k; row k starts at w_at + k * w_stride (in elem4)
// The kernel declares ROWS (at least 16), WG (a multiple of 32, the subgroup's size), `tile`, `w` and tile_store.
// k and cols are multiples of 16. Every invocation calls it, in uniform control flow. One subgroup owns 16 columns
// of all rows at a time; its results pass through its own 1 KiB of workgroup memory, since a cooperative matrix
// has no element access. Rows at and beyond ROWS are neither read nor stored: where ROWS is not a multiple of 16,
// the last 16 rows are computed together, and stored once. No constant of the kernel may be called A, B or C, which
// name a matrix's role here.
const TILE_SUBGROUPS = WG / 32u;
const TILE_ROWS = (ROWS + 15u) / 16u;
const TILE_AHEAD = 4u;  // matrices of w that are loaded before the first of them is used
var<workgroup> tile_out: array<vec4<f32>, TILE_SUBGROUPS * 64u>;

fn tile_matmul(stage: u32, lid: u32, a_at: u32, a_stride: u32, k: u32, w_at: u32, w_stride: u32, cols: u32) {
  let subgroup = lid / 32u;
  let lane = lid % 32u;
  let across = cols / 16u;
  let mine = subgroup * 64u;
  for (var first = 0u; first < across; first += TILE_SUBGROUPS) {
    let column = min(first + subgroup, across - 1u);
    var c: array<coop_mat16x16<f32, C>, TILE_ROWS>;
    //!unroll
    for (var r = 0u; r < TILE_ROWS; r += 1u) { c[r] = coop_mat16x16<f32, C>(); }
    var k0 = 0u;
    for (; k0 + 16u * TILE_AHEAD <= k; k0 += 16u * TILE_AHEAD) {
      var b: array<coop_mat16x16<f16, B>, TILE_AHEAD>;
      //!unroll
      for (var j = 0u; j < TILE_AHEAD; j += 1u) {
        let w_from = w_at + (k0 + j * 16u) * w_stride + column * 4u;
        b[j] = coopLoadT<coop_mat16x16<f16, B>>(&w[w_from], w_stride);
      }
      //!unroll
      for (var j = 0u; j < TILE_AHEAD; j += 1u) {
        //!unroll
        for (var r = 0u; r < TILE_ROWS; r += 1u) {
          let a_from = a_at + min(r * 16u, ROWS - 16u) * a_stride + k0 / 4u + j * 4u;
          let a = coopLoadT<coop_mat16x16<f16, A>>(&tile[a_from], a_stride);
          c[r] = coopMultiplyAdd(a, b[j], c[r]);
        }
      }
    }
    for (; k0 < k; k0 += 16u) {
      let w_from = w_at + k0 * w_stride + column * 4u;
      let b = coopLoadT<coop_mat16x16<f16, B>>(&w[w_from], w_stride);
      //!unroll
      for (var r = 0u; r < TILE_ROWS; r += 1u) {
        let a_from = a_at + min(r * 16u, ROWS - 16u) * a_stride + k0 / 4u;
        let a = coopLoadT<coop_mat16x16<f16, A>>(&tile[a_from], a_stride);
        c[r] = coopMultiplyAdd(a, b, c[r]);
      }
    }
    //!unroll
    for (var r = 0u; r < TILE_ROWS; r += 1u) {
      coopStoreT(c[r], &tile_out[mine], 4u);
      workgroupBarrier();
      let row = min(r * 16u, ROWS - 16u) + lane / 2u;
      if first + subgroup < across && row >= r * 16u {
        let n4 = column * 4u + lane % 2u * 2u;
        tile_store(stage, row, n4, tile_out[mine + lane * 2u]);
        tile_store(stage, row, n4 + 1u, tile_out[mine + lane * 2u + 1u]);
      }
      workgroupBarrier();
    }
  }
}
