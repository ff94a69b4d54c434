// attention/cascaded_group on matrix units, in f16: all heads of one window, and nothing between them in storage.
//   f_i = x_i + prev                         x_i: channels i D ..; prev: head i - 1's output before ReLU, 0 for i = 0
//   q, k, v = f_i wqkv_i + bqkv_i            16, 16 and D columns
//   q = depthwise K_i x K_i of q + bdw_i     zeros beyond the window; the scale of 0.25 is in its weights
//   a[t, s] = softmax_s(q_t · k_s + bias_i[t, s])
//   prev = a v;  o_i = relu(prev)
//   y = x + concat(o) wproj + bproj          PROJECT, else y = concat(o)
// Tokens of a window beyond the map are x = 0 and unmasked keys; their output is not stored.
// w  per head wqkv [D, 32 + D]; then, where PROJECT, wproj [C, C]; in blocks of 16 x 16
// b  per head bqkv [32 + D], wdw [K_i, K_i, 16], bdw [16], then for each 16 keys bias_i [N, 16]; then bproj [C]
// grid: B * ceil(H / WS) * ceil(W / WS) workgroups, folded. One workgroup owns one window. Tokens and keys are taken
// 16 at a time; where N is not a multiple of 16 the last 16 overlap those before, whose rows are stored once and
// whose keys count once. SHARES subgroups own the same 16 tokens and share columns, keys and rows of them.
// Of a chain as long as this one, with one window to a multiprocessor, the waits are the time: weights of the next
// head are on their way while this one is computed, and there are six or seven barriers to a head.
//!use window_attend
//!use window_project

// variant ---------------------------------------------------------------
alias elem = f16;      // storage type: f16
const WG = 256u;       // invocations per workgroup: 32 * SHARES for each 16 tokens
const CHANNELS = 64u;  // C
const HEADS = 4u;
const D = 16u;         // C / HEADS, a multiple of 16
const WS = 7u;         // side of a window, at least 4
const K0 = 5u;         // side of each head's depthwise kernel
const K1 = 5u;
const K2 = 5u;
const K3 = 5u;
const PROJECT = true;
const X_PARTS = 1u;    // that x comes in: it is their sum
// -----------------------------------------------------------------------
alias elem4 = vec4<elem>;

const N = WS * WS;
const TILES = (N + 15u) / 16u;                 // of 16 tokens, and of 16 keys
const SUBGROUPS = WG / 32u;
const SHARES = SUBGROUPS / TILES;              // subgroups of the same tokens
const D4 = D / 4u;
const C4 = CHANNELS / 4u;
const COLS4 = 8u + D4;                         // columns of q k v
const K_MAX = max(max(K0, K1), max(K2, K3));
const REACH = K_MAX / 2u;
const SIDE = WS + 2u * REACH;                  // of the window with zeros around it
const STAGED = COLS4 + (K_MAX * K_MAX + 1u) * 4u;
const AHEAD = (STAGED + WG - 1u) / WG;

// A row of workgroup memory, in elem4: f (of all heads where PROJECT; once q k v are made, q after its convolution in
// the head's first columns), k, v. The scores' exponentials take the place of what is no longer needed.
const F4 = select(D4, C4, PROJECT);
const IN_SLOT = D4 >= TILES * 4u;              // a head's columns of f have room for the exponentials
const P_AT = select(0u, F4, PROJECT && !IN_SLOT);
const K_AT = F4;
const V_AT = max(F4 + 4u, select(P_AT + TILES * 4u, 0u, PROJECT && IN_SLOT));
const ROW4 = V_AT + D4 + 2u;                   // two more than it holds: rows start in different banks

// Sums on their way from matrices to invocations. For each subgroup 16 rows of two matrices side by side; or, for
// each 16 tokens, the scores [16, N], with room for those that are computed twice.
const PAIR4 = 9u;                              // a row of a pair: 8 and one more, against bank conflicts
const OWN = 16u * PAIR4;
const SCORES4 = TILES * 4u + 2u;               // a row of scores
const KEY_TURNS = (TILES + SHARES - 1u) / SHARES;
const SPARE_AT = TILES * 16u * SCORES4;
const SPARE = select(SUBGROUPS * 64u, 0u, KEY_TURNS * SHARES == TILES);
const SUMS = max(SUBGROUPS * OWN, SPARE_AT + SPARE);

const X_TURNS = (N * F4 + WG - 1u) / WG;       // of all invocations over what is gathered of x at a time
const STEPS = D / 16u;                         // of the products' depth
// A task of the product for q k v: 16 columns, of all tokens or, where there are fewer columns than subgroups, of some.
const QKV_COLUMNS = COLS4 / 4u;
const QKV_GROUPS = max(1u, min(SUBGROUPS / QKV_COLUMNS, TILES));
const QKV_TILES = (TILES + QKV_GROUPS - 1u) / QKV_GROUPS;
const QKV_TASKS = QKV_COLUMNS * QKV_GROUPS;
const QKV_TURNS = (QKV_TASKS + SUBGROUPS - 1u) / SUBGROUPS;
const ROWS_EACH = max(16u / SHARES, 1u);                    // rows of scores of a subgroup
const ROW_TURNS = (ROWS_EACH + 7u) / 8u;

struct Params {
  windows: u32,              // B * ceil(H / WS) * ceil(W / WS)
  across: u32, down: u32,    // windows of a map
  h: u32, w: u32,
  part4: u32,                // elem4 of a part of x
}

@group(0) @binding(0) var<storage, read>       x: array<elem4>;  // [X_PARTS, B, H, W, C]
@group(0) @binding(1) var<storage, read>       w: array<elem4>;  // packed as above
@group(0) @binding(2) var<storage, read>       b: array<elem4>;  // packed as above
@group(0) @binding(3) var<storage, read_write> y: array<elem4>;  // [B, H, W, C]

var<workgroup> tile: array<elem4, (N * ROW4 + 1u) / 2u * 2u>;
var<workgroup> grid: array<elem4, SIDE * SIDE * 4u>;             // q before its convolution
var<workgroup> staged: array<elem4, (STAGED + 1u) / 2u * 2u>;    // a head's bias of q k v, and taps
var<workgroup> sums: array<vec4<f32>, SUMS>;

var<private> origin: vec3<u32>;  // the window's image, first row and column

// Where token t is in x and y, in elem4.
fn token_at(t: u32) -> u32 {
  return ((origin.x * params.h + origin.y + t / WS) * params.w + origin.z + t % WS) * C4;
}

fn inside(t: u32) -> bool {
  return origin.y + t / WS < params.h && origin.z + t % WS < params.w;
}

// Four channels of token t, all parts of x as one.
fn x_of(t: u32, c4: u32) -> vec4<f32> {
  let there = inside(t);
  let at = select(0u, token_at(t) + c4, there);
  var sum = vec4<f32>(x[at]);
  //!unroll
  for (var p = 1u; p < X_PARTS; p += 1u) { sum += vec4<f32>(x[p * params.part4 + at]); }
  return select(vec4<f32>(), sum, there);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let window = wg.x + wg.y * groups.x;
  if window >= params.windows { return; }
  let of_map = params.across * params.down;
  origin = vec3(window / of_map, window % of_map / params.across * WS, window % params.across * WS);
  let subgroup = lid / 32u;
  let lane = lid % 32u;
  let share = subgroup % SHARES;
  let mine = subgroup * OWN;
  let first_row = subgroup / SHARES * 16u;            // the first row that is this subgroup's to store
  let row0 = min(first_row, N - 16u);                 // and to compute

  // The weights of a head's products for q k v.
  var held: array<coop_mat16x16<f16, B>, QKV_TURNS * STEPS>;
  //!unroll
  for (var j = 0u; j < QKV_TURNS; j += 1u) {
    //!unroll
    for (var i = 0u; i < STEPS; i += 1u) {
      let w_from = (i * QKV_COLUMNS + min(subgroup + j * SUBGROUPS, QKV_TASKS - 1u) % QKV_COLUMNS) * 64u;
      held[j * STEPS + i] = coopLoad<coop_mat16x16<f16, B>>(&w[w_from], 4u);
    }
  }
  for (var i = lid; i < COLS4 + (K0 * K0 + 1u) * 4u; i += WG) { staged[i] = b[i]; }
  var x_now: array<vec4<f32>, X_TURNS>;   // not rounded here: a compiler may leave out a rounding that it can
  //!unroll
  for (var n = 0u; n < X_TURNS; n += 1u) {
    let i = min(n * WG + lid, N * F4 - 1u);
    x_now[n] = x_of(i / F4, i % F4);
  }
  //!unroll
  for (var n = 0u; n < X_TURNS; n += 1u) {
    let i = n * WG + lid;
    if i < N * F4 { tile[i / F4 * ROW4 + i % F4] = elem4(x_now[n]); }
  }
  for (var i = lid; i < SIDE * SIDE * 4u; i += WG) { grid[i] = elem4(); }

  var b_at = 0u;                                      // this head's part of b
  for (var head = 0u; head < HEADS; head += 1u) {
    let slot = select(0u, head * D4, PROJECT);
    let more = head + 1u < HEADS;
    let bias_at = b_at + COLS4 + (side_of(head) * side_of(head) + 1u) * 4u;
    let next_at = bias_at + N * TILES * 4u;

    // What comes later is asked for now: biases of the scores, the next head's x, taps and biases.
    ask_biases(lid, row0, bias_at);
    var ahead: array<elem4, AHEAD>;
    let next_side = side_of(head + 1u);
    let next = select(0u, COLS4 + (next_side * next_side + 1u) * 4u, more);
    for (var i = 0u; i < AHEAD; i += 1u) {
      if i * WG + lid < next { ahead[i] = b[next_at + i * WG + lid]; }
    }
    if !PROJECT && more {
      //!unroll
      for (var n = 0u; n < X_TURNS; n += 1u) {
        let i = min(n * WG + lid, N * D4 - 1u);
        x_now[n] = x_of(i / D4, (head + 1u) * D4 + i % D4);
      }
    }
    workgroupBarrier();

    // q k v.
    //!unroll
    for (var j = 0u; j < QKV_TURNS; j += 1u) {
      let task = min(subgroup + j * SUBGROUPS, QKV_TASKS - 1u);
      let column = task % QKV_COLUMNS;
      let top = task / QKV_COLUMNS * QKV_TILES;
      var c: array<coop_mat16x16<f32, C>, QKV_TILES>;
      //!unroll
      for (var r = 0u; r < QKV_TILES; r += 1u) {
        c[r] = coop_mat16x16<f32, C>();
        //!unroll
        for (var i = 0u; i < STEPS; i += 1u) {
          let f_at = min((top + r) * 16u, N - 16u) * ROW4 + slot + i * 4u;
          let f = coopLoadT<coop_mat16x16<f16, A>>(&tile[f_at], ROW4);
          c[r] = coopMultiplyAdd(f, held[j * STEPS + i], c[r]);
        }
      }
      //!unroll
      for (var r = 0u; r < QKV_TILES; r += 2u) {
        let left_at = mine;
        coopStoreT(c[r], &sums[left_at], PAIR4);
        let right_at = mine + 4u;
        coopStoreT(c[min(r + 1u, QKV_TILES - 1u)], &sums[right_at], PAIR4);
        subgroupBarrier();
        store_qkv(lid, top + r, QKV_TILES - r, column, subgroup + j * SUBGROUPS < QKV_TASKS);
        subgroupBarrier();
      }
    }
    //!unroll
    for (var j = 0u; j < QKV_TURNS; j += 1u) {
      //!unroll
      for (var i = 0u; i < STEPS; i += 1u) {
        let w_from = ((min(head + 1u, HEADS - 1u) * STEPS + i) * QKV_COLUMNS
          + min(subgroup + j * SUBGROUPS, QKV_TASKS - 1u) % QKV_COLUMNS) * 64u;
        held[j * STEPS + i] = coopLoad<coop_mat16x16<f16, B>>(&w[w_from], 4u);
      }
    }
    workgroupBarrier();

    switch head {
      case 0u: { convolve(K0, lid, slot); }
      case 1u: { convolve(K1, lid, slot); }
      case 2u: { convolve(K2, lid, slot); }
      default: { convolve(K3, lid, slot); }
    }
    workgroupBarrier();
    for (var i = 0u; i < AHEAD; i += 1u) {
      if i * WG + lid < next { staged[i * WG + lid] = ahead[i]; }
    }

    attend(head, lid, slot, row0, first_row);
    if !PROJECT {
      workgroupBarrier();
      //!unroll
      for (var n = 0u; n < X_TURNS; n += 1u) {
        let i = min(n * WG + lid, N * D4 - 1u);
        if n * WG + lid < N * D4 {
          let at = i / D4 * ROW4 + i % D4;
          let prev = tile[at];
          if inside(i / D4) { y[token_at(i / D4) + head * D4 + i % D4] = max(prev, elem4()); }
          if more { tile[at] = elem4(vec4<f32>(prev) + x_now[n]); }
        }
      }
    }
    b_at = next_at;
  }

  if PROJECT { window_project(lid, b_at); }
}
