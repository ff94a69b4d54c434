// A head of a window on matrix units, but for the products for q k v: store_qkv, convolve and attend in this order.
//   grid    q before its convolution, with zeros around the window, 16 channels
//   tile    rows of ROW4 (in elem4, as all here): q after it at slot, k at K_AT, v at V_AT, the exponentials at P_AT
//   staged  the taps, after the biases of q k v
// Of the result, PROJECT leaves o at slot and adds it to the next head's f; else it is at the rows' begin, before ReLU.
// The kernel declares all these, N, TILES, SUBGROUPS, SHARES, STEPS, WS, SIDE, REACH, the strides, OWN, PAIR4, SCORES4,
// KEY_TURNS, SPARE_AT, ROWS_EACH and ROW_TURNS. Every invocation calls convolve and attend, in uniform control flow, with
// a barrier between.
const LOW = -60000.0;
const LOG2_E = 1.4426950408889634;
const PAIRS = (WS + 1u) / 2u;
const V_TURNS = (STEPS + SHARES - 1u) / SHARES;
const V_PAIRS = (V_TURNS + 1u) / 2u;

var<private> near: array<elem4, ROW_TURNS * TILES>;  // biases of the scores that this invocation takes

// Asks for the biases of a head's scores, from bias_at on.
fn ask_biases(lid: u32, row0: u32, bias_at: u32) {
  let lane = lid % 32u;
  let share = lid / 32u % SHARES;
  //!unroll
  for (var r = 0u; r < ROW_TURNS; r += 1u) {
    let t = row0 + min(share * ROWS_EACH + r * 8u + lane / 4u, 15u);
    //!unroll
    for (var i = 0u; i < TILES; i += 1u) { near[r * TILES + i] = b[bias_at + (i * N + t) * 4u + lane % 4u]; }
  }
}

// A subgroup's pair of matrices, four elements at a time: item i of 4 of this invocation is in matrix i / 2, in row
// own_row(lane, i), its columns 4 (lane % 4) ... So neighbours are beside each other, in storage as well.
fn own_row(lane: u32, i: u32) -> u32 {
  return i % 2u * 8u + lane / 4u;
}

fn own_sums(mine: u32, lane: u32, i: u32) -> vec4<f32> {
  return sums[mine + own_row(lane, i) * PAIR4 + i / 2u * 4u + lane % 4u];
}

// A pair of results of q k v, of 16 columns: 16 tokens from 16 * first on and, where left is not 1, the next 16.
fn store_qkv(lid: u32, first: u32, left: u32, column: u32, owned: bool) {
  let lane = lid % 32u;
  let mine = lid / 32u * OWN;
  let bias = vec4<f32>(staged[column * 4u + lane % 4u]);
  //!unroll
  for (var i = 0u; i < 4u; i += 1u) {
    let part = first + i / 2u;
    let row = min(part * 16u, N - 16u) + own_row(lane, i);
    let v = elem4(own_sums(mine, lane, i) + bias);
    if owned && i / 2u < left && part < TILES && row >= part * 16u {
      if column == 0u {
        grid[((row / WS + REACH) * SIDE + row % WS + REACH) * 4u + lane % 4u] = v;
      } else {
        tile[row * ROW4 + select(V_AT + column * 4u - 8u, K_AT, column == 1u) + lane % 4u] = v;
      }
    }
  }
}

fn side_of(head: u32) -> u32 {
  if head == 0u { return K0; }
  if head == 1u { return K1; }
  if head == 2u { return K2; }
  return K3;
}

// q after its depthwise convolution of side k, into the first columns at slot. One invocation owns four channels of
// two neighbours in a row.
fn convolve(k: u32, lid: u32, slot: u32) {
  for (var i = lid; i < WS * PAIRS * 4u; i += WG) {
    let c4 = i % 4u;
    let tx = min(i / 4u % PAIRS * 2u, WS - 2u);
    let ty = i / 4u / PAIRS;
    let taps = COLS4 + c4;
    let bias = vec4<f32>(staged[taps + k * k * 4u]);
    var s0 = bias;
    var s1 = bias;
    for (var ky = 0u; ky < k; ky += 1u) {
      let start = ((ty + ky + REACH - k / 2u) * SIDE + tx + REACH - k / 2u) * 4u + c4;
      var left = vec4<f32>(grid[start]);
      for (var kx = 0u; kx < k; kx += 1u) {
        let right = vec4<f32>(grid[start + (kx + 1u) * 4u]);
        let tap = vec4<f32>(staged[taps + (ky * k + kx) * 4u]);
        s0 = fma(left, tap, s0);
        s1 = fma(right, tap, s1);
        left = right;
      }
    }
    let at = (ty * WS + tx) * ROW4 + slot + c4;
    if i / 4u % PAIRS * 2u == tx { tile[at] = elem4(s0); }
    tile[at + ROW4] = elem4(s1);
  }
}

fn attend(head: u32, lid: u32, slot: u32, row0: u32, first_row: u32) {
  let subgroup = lid / 32u;
  let lane = lid % 32u;
  let share = subgroup % SHARES;
  let mine = subgroup * OWN;
  let more = head + 1u < HEADS;
  let p_at = select(P_AT, slot, PROJECT && IN_SLOT);
  // Scores of 16 tokens and some of the keys. What other subgroups compute as well goes where nobody reads.
  let q_at = row0 * ROW4 + slot;
  let q = coopLoadT<coop_mat16x16<f16, A>>(&tile[q_at], ROW4);
  //!unroll
  for (var j = 0u; j < KEY_TURNS; j += 1u) {
    let of_keys = share + SHARES * j;
    let k_at = min(of_keys * 16u, N - 16u) * ROW4 + K_AT;
    let k = coopLoad<coop_mat16x16<f16, B>>(&tile[k_at], ROW4);
    let zero = coop_mat16x16<f32, C>();
    let scores = coopMultiplyAdd(q, k, zero);
    let own = select(SPARE_AT + subgroup * 64u, first_row * SCORES4 + of_keys * 4u, of_keys < TILES);
    let s_stride = select(4u, SCORES4, of_keys < TILES);
    coopStoreT(scores, &sums[own], s_stride);
  }
  workgroupBarrier();

  // Softmax of some of the 16 rows, four invocations to a row.
  //!unroll
  for (var r = 0u; r < ROW_TURNS; r += 1u) {
    let row = min(share * ROWS_EACH + r * 8u + lane / 4u, 15u);
    var s: array<vec4<f32>, TILES>;
    var most = vec4<f32>(LOW);
    //!unroll
    for (var i = 0u; i < TILES; i += 1u) {
      let key = min(i * 16u, N - 16u) + lane % 4u * 4u + vec4<u32>(0u, 1u, 2u, 3u);
      let v = sums[(first_row + row) * SCORES4 + i * 4u + lane % 4u] + vec4<f32>(near[r * TILES + i]);
      s[i] = select(vec4<f32>(LOW), v, key >= vec4<u32>(i * 16u));
      most = max(most, s[i]);
    }
    var top = max(max(most.x, most.y), max(most.z, most.w));
    top = max(top, subgroupShuffleXor(top, 1u));
    top = max(top, subgroupShuffleXor(top, 2u));
    var all = vec4<f32>();
    //!unroll
    for (var i = 0u; i < TILES; i += 1u) {
      s[i] = exp2(fma(s[i], vec4<f32>(LOG2_E), vec4<f32>(-top * LOG2_E)));
      all += s[i];
    }
    var sum = (all.x + all.y) + (all.z + all.w);
    sum += subgroupShuffleXor(sum, 1u);
    sum += subgroupShuffleXor(sum, 2u);
    let scale = 1.0 / sum;
    let once = r * 8u + lane / 4u < ROWS_EACH && share * ROWS_EACH < 16u && row0 + row >= first_row;
    //!unroll
    for (var i = 0u; i < TILES; i += 1u) {
      if once { tile[(row0 + row) * ROW4 + p_at + i * 4u + lane % 4u] = elem4(s[i] * scale); }
    }
  }
  workgroupBarrier();

  // a v of 16 tokens and some of the columns.
  var p: array<coop_mat16x16<f16, A>, TILES>;
  //!unroll
  for (var i = 0u; i < TILES; i += 1u) {
    let at = row0 * ROW4 + p_at + i * 4u;
    p[i] = coopLoadT<coop_mat16x16<f16, A>>(&tile[at], ROW4);
  }
  var o: array<coop_mat16x16<f32, C>, V_TURNS>;
  //!unroll
  for (var j = 0u; j < V_TURNS; j += 1u) {
    o[j] = coop_mat16x16<f32, C>();
    //!unroll
    for (var i = 0u; i < TILES; i += 1u) {
      let at = min(i * 16u, N - 16u) * ROW4 + V_AT + min(share + SHARES * j, STEPS - 1u) * 4u;
      let v = coopLoadT<coop_mat16x16<f16, B>>(&tile[at], ROW4);
      o[j] = coopMultiplyAdd(p[i], v, o[j]);
    }
  }
  //!unroll
  for (var j = 0u; j < V_PAIRS; j += 1u) {
    let left_at = mine;
    coopStoreT(o[2u * j], &sums[left_at], PAIR4);
    let right_at = mine + 4u;
    coopStoreT(o[min(2u * j + 1u, V_TURNS - 1u)], &sums[right_at], PAIR4);
    workgroupBarrier();  // the exponentials have been read, too: f may take their place
    //!unroll
    for (var i = 0u; i < 4u; i += 1u) {
      let column = share + SHARES * (2u * j + i / 2u);
      let row = row0 + own_row(lane, i);
      if row >= first_row && 2u * j + i / 2u < V_TURNS && column < STEPS {
        let prev = own_sums(mine, lane, i);
        let at = row * ROW4 + slot + column * 4u + lane % 4u;
        if PROJECT {
          tile[at] = elem4(max(prev, vec4<f32>()));
          if more { tile[at + D4] = elem4(vec4<f32>(tile[at + D4]) + prev); }
        } else {
          tile[at] = elem4(prev);
        }
      }
    }
    subgroupBarrier();
  }
}
