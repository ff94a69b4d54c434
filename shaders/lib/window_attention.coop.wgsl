// window_attention: for all tokens t of a window, attention_store(head, slot, t, n / 4, Σ_s a[t, s] * v[s, n]) with
// a[t] = softmax_s(q[t] · k[s] + bias[t, s]), on matrix units.
//   q     tile, 16 columns at slot, row t at slot + t * ROW4 (in elem4, as all here)
//   k, v  tile, 16 and D columns, row s at QKV_AT + s * QKV4, columns 16 .. and 32 ..
//   p     tile, room for N rows of P4, row t at p_at + t * P_ROW4; may be q's
//   bias  b, at bias_at: for each 16 keys as below, [N, 16]
// The kernel declares N (at least 16), D, WG, tile and tile_out (this file goes with tile_matmul.coop), b, these
// strides and attention_store, which may write q's and p's row t and what belongs to t alone. Every invocation calls
// it, in uniform control flow; a barrier stands before it and after it.
// Rows and keys are taken 16 at a time; where N is not a multiple of 16, the last 16 overlap those before, whose
// rows are stored once and whose keys count once. One subgroup owns 16 rows, with every SHARES-th 16 columns of v:
// subgroups of the same rows compute the same scores. WG is at least 32 * TILES.
const TILES = (N + 15u) / 16u;
const P4 = TILES * 4u;
const P_ROWS = N;
const BIAS4 = N * P4;
const LOW = -60000.0;
const SHARES = max(1u, WG / 32u / TILES);
const TURNS = (D / 16u + SHARES - 1u) / SHARES;

fn window_attention(head: u32, lid: u32, slot: u32, p_at: u32, bias_at: u32) {
  let subgroup = lid / 32u;
  let mine = subgroup * 64u;
  let read_at = mine + lid % 32u * 2u;     // of a 16 x 16 result: 8 elements of a row
  let half = lid % 2u;
  let share = min(subgroup / TILES, SHARES - 1u);
  let from_row = min(subgroup % TILES * 16u, N - 16u);
  let t = from_row + lid % 32u / 2u;
  let live = subgroup < TILES * SHARES && t >= subgroup % TILES * 16u;

  var s: array<vec4<f32>, TILES * 2u>;
  //!unroll
  for (var i = 0u; i < TILES; i += 1u) {
    let at = bias_at + (i * N + t) * 4u + half * 2u;
    s[i * 2u] = vec4<f32>(b[at]);
    s[i * 2u + 1u] = vec4<f32>(b[at + 1u]);
  }
  let q_at = slot + from_row * ROW4;
  let q = coopLoadT<coop_mat16x16<f16, A>>(&tile[q_at], ROW4);
  var most = LOW;
  //!unroll
  for (var i = 0u; i < TILES; i += 1u) {
    let from_key = min(i * 16u, N - 16u);
    let k_at = QKV_AT + from_key * QKV4 + 4u;
    let k = coopLoad<coop_mat16x16<f16, B>>(&tile[k_at], QKV4);
    let zero = coop_mat16x16<f32, C>();
    coopStoreT(coopMultiplyAdd(q, k, zero), &tile_out[mine], 4u);
    workgroupBarrier();
    let key = from_key + half * 8u;
    let low = vec4<f32>(LOW);
    let fresh = vec4<u32>(i * 16u);
    let s0 = select(low, s[i * 2u] + tile_out[read_at], key + vec4<u32>(0u, 1u, 2u, 3u) >= fresh);
    let s1 = select(low, s[i * 2u + 1u] + tile_out[read_at + 1u], key + vec4<u32>(4u, 5u, 6u, 7u) >= fresh);
    s[i * 2u] = s0;
    s[i * 2u + 1u] = s1;
    let both = max(s0, s1);
    most = max(most, max(max(both.x, both.y), max(both.z, both.w)));
    workgroupBarrier();
  }
  most = max(most, subgroupShuffleXor(most, 1u));
  var sum = 0.0;
  //!unroll
  for (var i = 0u; i < TILES; i += 1u) {
    let e0 = elem4(exp(s[i * 2u] - most));
    let e1 = elem4(exp(s[i * 2u + 1u] - most));
    sum += dot(vec4<f32>(e0) + vec4<f32>(e1), vec4<f32>(1.0));
    let at = p_at + t * P_ROW4 + i * 4u + half * 2u;
    if live && share == 0u {
      tile[at] = e0;
      tile[at + 1u] = e1;
    }
  }
  let scale = 1.0 / (sum + subgroupShuffleXor(sum, 1u));
  workgroupBarrier();

  var p: array<coop_mat16x16<f16, A>, TILES>;
  //!unroll
  for (var i = 0u; i < TILES; i += 1u) {
    let at = p_at + from_row * P_ROW4 + i * 4u;
    p[i] = coopLoadT<coop_mat16x16<f16, A>>(&tile[at], P_ROW4);
  }
  var o: array<vec4<f32>, TURNS * 2u>;
  //!unroll
  for (var turn = 0u; turn < TURNS; turn += 1u) {
    let column = min(turn * SHARES + share, D / 16u - 1u);
    var c = coop_mat16x16<f32, C>();
    //!unroll
    for (var i = 0u; i < TILES; i += 1u) {
      let at = QKV_AT + min(i * 16u, N - 16u) * QKV4 + 8u + column * 4u;
      let v = coopLoadT<coop_mat16x16<f16, B>>(&tile[at], QKV4);
      c = coopMultiplyAdd(p[i], v, c);
    }
    coopStoreT(c, &tile_out[mine], 4u);
    workgroupBarrier();
    o[turn * 2u] = tile_out[read_at] * scale;
    o[turn * 2u + 1u] = tile_out[read_at + 1u] * scale;
    workgroupBarrier();
  }
  //!unroll
  for (var turn = 0u; turn < TURNS; turn += 1u) {
    let column = turn * SHARES + share;
    if live && column < D / 16u {
      attention_store(head, slot, t, column * 4u + half * 2u, o[turn * 2u]);
      attention_store(head, slot, t, column * 4u + half * 2u + 1u, o[turn * 2u + 1u]);
    }
  }
}
