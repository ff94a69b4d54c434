// rows_matmul: for t < rows and n < CHUNK, rows_store(t, n / 4, Σ_k x[row0 + t, k] * w[k, 4 n0 + n]), on matrix
// units. The kernel declares K, N, CHUNK (multiples of 16), WG (a multiple of 32, the subgroup's size), `x` [_, K]
// and `w` [K, N] of elem4 of f16 in storage, and rows_store. rows is at least 16. Every invocation calls it, in
// uniform control flow. One subgroup owns 2 × ROWS_ACROSS blocks of 16 × 16 at a time; they pass through its own
// 2 KiB of workgroup memory in turn, since a cooperative matrix has no element access. The last 16 rows are
// computed together wherever they begin, so nothing beyond them is read.
const ROWS_SUBGROUPS = WG / 32u;
const ROWS_ACROSS = min(CHUNK / 16u, 4u);
const ROWS_GROUPS = (CHUNK / 16u + ROWS_ACROSS - 1u) / ROWS_ACROSS;
var<workgroup> rows_out: array<f32, ROWS_SUBGROUPS * 512u>;

fn rows_matmul(lid: u32, row0: u32, rows: u32, n0: u32) {
  let subgroup = lid / 32u;
  let lane = lid % 32u;
  let tasks = (rows + 31u) / 32u * ROWS_GROUPS;
  for (var first = 0u; first < tasks; first += ROWS_SUBGROUPS) {
    let task = min(first + subgroup, tasks - 1u);
    let column = task % ROWS_GROUPS * ROWS_ACROSS;
    let down = task / ROWS_GROUPS * 32u;
    let top = min(down, rows - 16u);
    let bottom = min(down + 16u, rows - 16u);
    var c: array<coop_mat16x16<f32, C>, 8>;
    //!unroll
    for (var i = 0u; i < 2u * ROWS_ACROSS; i += 1u) { c[i] = coop_mat16x16<f32, C>(); }
    for (var k0 = 0u; k0 < K; k0 += 16u) {
      let top_at = ((row0 + top) * K + k0) / 4u;
      let bottom_at = ((row0 + bottom) * K + k0) / 4u;
      let a0 = coopLoadT<coop_mat16x16<f16, A>>(&x[top_at], K / 4u);
      let a1 = coopLoadT<coop_mat16x16<f16, A>>(&x[bottom_at], K / 4u);
      //!unroll
      for (var i = 0u; i < ROWS_ACROSS; i += 1u) {
        let w_at = k0 * (N / 4u) + n0 + min(column + i, CHUNK / 16u - 1u) * 4u;
        let b = coopLoadT<coop_mat16x16<f16, B>>(&w[w_at], N / 4u);
        c[2u * i] = coopMultiplyAdd(a0, b, c[2u * i]);
        c[2u * i + 1u] = coopMultiplyAdd(a1, b, c[2u * i + 1u]);
      }
    }
    // Two halves of the memory in turn: one barrier a block is enough.
    //!unroll
    for (var i = 0u; i < 2u * ROWS_ACROSS; i += 1u) {
      let half = subgroup * 512u + i % 2u * 256u;
      coopStoreT(c[i], &rows_out[half], 16u);
      workgroupBarrier();
      let block = down + i % 2u * 16u;
      let row = min(block, rows - 16u) + lane / 2u;
      if first + subgroup < tasks && row >= block && column + i / 2u < CHUNK / 16u {
        let at = half + lane * 8u;
        let n4 = (column + i / 2u) * 4u + lane % 2u * 2u;
        rows_store(row, n4, vec4<f32>(rows_out[at], rows_out[at + 1u], rows_out[at + 2u], rows_out[at + 3u]));
        rows_store(row, n4 + 1u, vec4<f32>(rows_out[at + 4u], rows_out[at + 5u], rows_out[at + 6u], rows_out[at + 7u]));
      }
    }
    workgroupBarrier();
  }
}
