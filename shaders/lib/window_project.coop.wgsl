// window_project: y = x + o wproj + bproj for a window's tokens, with o in workgroup memory, on matrix units.
//   o       tile, C columns at 0, row t at t * ROW4 (in elem4, as all here)
//   wproj   w, [C, C] at HEADS * D * COLS4, in blocks of 16 x 16
//   bproj   b, [C] at b_at
// The kernel declares N, TILES, SUBGROUPS, C4, D, HEADS, COLS4, ROW4, PAIR4, OWN, tile, sums, w, b, y, x_of, inside,
// token_at, own_row and own_sums. Every invocation calls it, in uniform control flow. A subgroup's task is 16 columns, of all
// tokens or, where there are fewer columns than subgroups, of some.
const P_COLUMNS = C4 / 4u;
const ROW_GROUPS = max(1u, min(SUBGROUPS / P_COLUMNS, TILES));
const ROW_TILES = (TILES + ROW_GROUPS - 1u) / ROW_GROUPS;
const P_TASKS = P_COLUMNS * ROW_GROUPS;
const P_STEPS = min(8u, P_COLUMNS);      // steps of the depth whose weights are loaded together

fn window_project(lid: u32, b_at: u32) {
  let subgroup = lid / 32u;
  let lane = lid % 32u;
  let mine = subgroup * OWN;
  workgroupBarrier();
  for (var first = 0u; first < P_TASKS; first += SUBGROUPS) {
    let task = min(first + subgroup, P_TASKS - 1u);
    let column = task % P_COLUMNS * 4u;
    let top = task / P_COLUMNS * ROW_TILES;
    var c: array<coop_mat16x16<f32, C>, ROW_TILES>;
    //!unroll
    for (var r = 0u; r < ROW_TILES; r += 1u) { c[r] = coop_mat16x16<f32, C>(); }
    var k0 = 0u;
    for (; k0 + P_STEPS <= P_COLUMNS; k0 += P_STEPS) {
      var v: array<coop_mat16x16<f16, B>, P_STEPS>;
      //!unroll
      for (var i = 0u; i < P_STEPS; i += 1u) {
        let w_from = HEADS * D * COLS4 + (k0 + i) * 16u * C4 + column * 16u;
        v[i] = coopLoad<coop_mat16x16<f16, B>>(&w[w_from], 4u);
      }
      //!unroll
      for (var i = 0u; i < P_STEPS; i += 1u) {
        //!unroll
        for (var r = 0u; r < ROW_TILES; r += 1u) {
          let at = min((top + r) * 16u, N - 16u) * ROW4 + (k0 + i) * 4u;
          let f = coopLoadT<coop_mat16x16<f16, A>>(&tile[at], ROW4);
          c[r] = coopMultiplyAdd(f, v[i], c[r]);
        }
      }
    }
    for (; k0 < P_COLUMNS; k0 += 1u) {
      let w_from = HEADS * D * COLS4 + k0 * 16u * C4 + column * 16u;
      let v = coopLoad<coop_mat16x16<f16, B>>(&w[w_from], 4u);
      //!unroll
      for (var r = 0u; r < ROW_TILES; r += 1u) {
        let at = min((top + r) * 16u, N - 16u) * ROW4 + k0 * 4u;
        let f = coopLoadT<coop_mat16x16<f16, A>>(&tile[at], ROW4);
        c[r] = coopMultiplyAdd(f, v, c[r]);
      }
    }
    //!unroll
    for (var r = 0u; r < ROW_TILES; r += 2u) {
      let left_at = mine;
      coopStoreT(c[r], &sums[left_at], PAIR4);
      let right_at = mine + 4u;
      coopStoreT(c[min(r + 1u, ROW_TILES - 1u)], &sums[right_at], PAIR4);
      subgroupBarrier();
      //!unroll
      for (var i = 0u; i < 4u; i += 1u) {
        let part = top + r + i / 2u;
        let row = min(part * 16u, N - 16u) + own_row(lane, i);
        let once = first + subgroup < P_TASKS && r + i / 2u < ROW_TILES && part < TILES && row >= part * 16u;
        if once && inside(row) {
          let n4 = column + lane % 4u;
          y[token_at(row) + n4] = elem4(x_of(row, n4) + own_sums(mine, lane, i) + vec4<f32>(b[b_at + n4]));
        }
      }
      subgroupBarrier();
    }
  }
}
