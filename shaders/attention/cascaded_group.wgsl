// Cascaded group attention of EfficientViT: all heads of one window, and nothing between them in storage.
//   f_i = x_i + prev                         x_i: channels i D ..; prev: head i - 1's output before ReLU, 0 for i = 0
//   q, k, v = f_i wqkv_i + bqkv_i            16, 16 and D columns
//   q = depthwise K_i x K_i of q + bdw_i     zeros beyond the window; the scale of 0.25 is in its weights
//   a[t, s] = softmax_s(q_t · k_s + table_i[|dy| WS + |dx|])
//   prev = a v;  o_i = relu(prev)
//   y = x + concat(o) wproj + bproj          PROJECT, else y = concat(o)
// Tokens of a window beyond the map are x = 0 and unmasked keys; their output is not stored.
// w  per head wqkv [D, 32 + D]; then, where PROJECT, wproj [C, C]
// b  per head bqkv [32 + D], wdw [K_i, K_i, 16], bdw [16], table [WS * WS, to a multiple of 4]; then bproj [C]
// grid: B * ceil(H / WS) * ceil(W / WS) workgroups, folded. One workgroup owns one window.
// D is a multiple of 4, at least 16.
//!use tile_matmul

// variant ---------------------------------------------------------------
alias elem = f32;      // storage type: f32 | f16
const WG = 256u;       // invocations per workgroup
const CHANNELS = 64u;  // C
const HEADS = 4u;
const D = 16u;         // C / HEADS
const WS = 7u;         // side of a window
const K0 = 5u;         // side of each head's depthwise kernel
const K1 = 5u;
const K2 = 5u;
const K3 = 5u;
const CHUNK = 52u;     // query rows whose scores are held at a time, a multiple of 4
const AV_ROWS = 4u;    // rows of an invocation's tile of a v: 1 | 2 | 4
const PAD = 2u;        // elem4 added to rows in workgroup memory, to spread them over its banks
const PROJECT = true;
// -----------------------------------------------------------------------
alias elem4 = vec4<elem>;

const N = WS * WS;
const ROWS = N;
const D4 = D / 4u;
const C4 = CHANNELS / 4u;
const COLS4 = 8u + D4;                // columns of q k v
const KEYS4 = (N + 3u) / 4u;
const MAX_AT = max(KEYS4, 4u);        // column of p with the partial maxima, beyond q's
const P4 = MAX_AT + 1u;
const LOW = -60000.0;

// Workgroup memory: rows of f (or of all channels, where PROJECT), rows of q k v, rows of p. Once q k v are made,
// f's columns hold q after its convolution; once the scores are in registers, p, where it fits there.
const ALIAS = CHUNK >= N && (!PROJECT || D4 >= P4);
const ROW4 = PAD + select(select(D4, max(D4, P4), CHUNK >= N), C4, PROJECT);
const QKV4 = COLS4 + PAD / 2u;
const QKV_AT = N * ROW4;
const P_AT = QKV_AT + N * QKV4;
const P_ROW4 = select(P4, ROW4, ALIAS);

const LANES = 4u;                                     // invocations to a row of scores
const GROUPS = (KEYS4 + LANES - 1u) / LANES;          // of 4 keys, of one invocation
const ROUNDS = (CHUNK * LANES + WG - 1u) / WG;        // rows of scores of one invocation
const TASKS = CHUNK / AV_ROWS * D4;                   // tiles of a v
const TURNS = (TASKS + WG - 1u) / WG;                 // of one invocation

struct Params {
  windows: u32,              // B * ceil(H / WS) * ceil(W / WS)
  across: u32, down: u32,    // windows of a map
  h: u32, w: u32,
}

@group(0) @binding(0) var<storage, read>       x: array<elem4>;  // [B, H, W, C]
@group(0) @binding(1) var<storage, read>       w: array<elem4>;  // packed as above
@group(0) @binding(2) var<storage, read>       b: array<elem4>;  // packed as above
@group(0) @binding(3) var<storage, read_write> y: array<elem4>;  // [B, H, W, C]

var<workgroup> tile: array<elem4, P_AT + select(CHUNK * P4, 0u, ALIAS)>;
var<workgroup> sums: array<vec4<f32>, CHUNK>;         // of exp, of each of a row's invocations
var<workgroup> table: array<vec4<f32>, KEYS4>;        // this head's relative bias

var<private> origin: vec3<u32>;  // the window's image, first row and column
var<private> b_at: u32;          // this head's part of b

// Where token t is in x and y, in elem4.
fn token_at(t: u32) -> u32 {
  return ((origin.x * params.h + origin.y + t / WS) * params.w + origin.z + t % WS) * C4;
}

fn inside(t: u32) -> bool {
  return t < N && origin.y + t / WS < params.h && origin.z + t % WS < params.w;
}

fn x_of(t: u32, c4: u32) -> vec4<f32> {
  if inside(t) { return vec4<f32>(x[token_at(t) + c4]); }
  return vec4<f32>();
}

fn tile_store(stage: u32, row: u32, n4: u32, v: vec4<f32>) {
  let sum = v + vec4<f32>(b[b_at + n4]);
  if stage == 0u {
    tile[QKV_AT + row * QKV4 + n4] = elem4(sum);
  } else if inside(row) {
    let at = token_at(row) + n4;
    y[at] = elem4(vec4<f32>(x[at]) + sum);
  }
}

// q after its depthwise convolution of side k, into the first columns at slot.
fn convolve(k: u32, lid: u32, slot: u32) {
  for (var i = lid; i < N * 4u; i += WG) {
    let t = i / 4u;
    let c = i % 4u;
    let taps = b_at + COLS4 + c;
    var sum = vec4<f32>(b[taps + k * k * 4u]);
    for (var ky = 0u; ky < k; ky += 1u) {
      let row = t / WS + ky - k / 2u;  // wraps to a large number above the window
      if row >= WS { continue; }
      for (var kx = 0u; kx < k; kx += 1u) {
        let column = t % WS + kx - k / 2u;
        if column >= WS { continue; }
        sum += vec4<f32>(b[taps + (ky * k + kx) * 4u]) * vec4<f32>(tile[QKV_AT + (row * WS + column) * QKV4 + c]);
      }
    }
    tile[slot + t * ROW4 + c] = elem4(sum);
  }
}

// The score of query (row, column), q0 .. q3, and key s; LOW beyond the window's keys.
fn score(row: u32, column: u32, q0: vec4<f32>, q1: vec4<f32>, q2: vec4<f32>, q3: vec4<f32>, s: u32) -> f32 {
  let key = min(s, N - 1u);
  let at = QKV_AT + key * QKV4 + 4u;
  let dot_q_k = dot(q0, vec4<f32>(tile[at])) + dot(q1, vec4<f32>(tile[at + 1u]))
    + dot(q2, vec4<f32>(tile[at + 2u])) + dot(q3, vec4<f32>(tile[at + 3u]));
  let dy = max(row, key / WS) - min(row, key / WS);
  let dx = max(column, key % WS) - min(column, key % WS);
  let offset = dy * WS + dx;
  return select(dot_q_k + table[offset / 4u][offset % 4u], LOW, s >= N);
}

// Attention of the query rows first .. first + CHUNK of head, and what follows from it: o, and the next head's f.
fn attend(head: u32, lid: u32, first: u32, slot: u32, p_at: u32) {
  let last = min(CHUNK, N - first) - 1u;
  let lane = lid % LANES;
  var s: array<vec4<f32>, ROUNDS * GROUPS>;
  for (var r = 0u; r < ROUNDS; r += 1u) {
    let row = (r * WG + lid) / LANES;
    let t = first + min(row, last);
    let at = slot + t * ROW4;
    let q0 = vec4<f32>(tile[at]);
    let q1 = vec4<f32>(tile[at + 1u]);
    let q2 = vec4<f32>(tile[at + 2u]);
    let q3 = vec4<f32>(tile[at + 3u]);
    let ty = t / WS;
    let tx = t % WS;
    var most = LOW;
    for (var g = 0u; g < GROUPS; g += 1u) {
      let key = (g * LANES + lane) * 4u;
      let v = vec4<f32>(score(ty, tx, q0, q1, q2, q3, key), score(ty, tx, q0, q1, q2, q3, key + 1u),
        score(ty, tx, q0, q1, q2, q3, key + 2u), score(ty, tx, q0, q1, q2, q3, key + 3u));
      s[r * GROUPS + g] = v;
      most = max(most, max(max(v.x, v.y), max(v.z, v.w)));
    }
    if row <= last { tile[p_at + row * P_ROW4 + MAX_AT][lane] = elem(most); }
  }
  workgroupBarrier();
  for (var r = 0u; r < ROUNDS; r += 1u) {
    let row = (r * WG + lid) / LANES;
    let at = p_at + min(row, last) * P_ROW4;
    let mosts = vec4<f32>(tile[at + MAX_AT]);
    let most = max(max(mosts.x, mosts.y), max(mosts.z, mosts.w));
    var sum = 0.0;
    for (var g = 0u; g < GROUPS; g += 1u) {
      let e = elem4(exp(s[r * GROUPS + g] - most));
      sum += dot(vec4<f32>(e), vec4<f32>(1.0));
      if row <= last && g * LANES + lane < KEYS4 { tile[at + g * LANES + lane] = e; }
    }
    if row <= last { sums[row][lane] = sum; }
  }
  workgroupBarrier();
  var o: array<vec4<f32>, TURNS * AV_ROWS>;
  for (var i = 0u; i < TURNS; i += 1u) {
    let task = i * WG + lid;
    let v_at = QKV_AT + 8u + task % D4;
    let row = task / D4 * AV_ROWS;
    for (var r = 0u; r < AV_ROWS; r += 1u) { o[i * AV_ROWS + r] = vec4<f32>(); }
    if row > last { continue; }
    for (var k4 = 0u; k4 < KEYS4; k4 += 1u) {
      // Beyond the last key p is 0; the last key's v stands in, as 0 times what is there may be NaN.
      let v0 = vec4<f32>(tile[v_at + k4 * 4u * QKV4]);
      let v1 = vec4<f32>(tile[v_at + min(k4 * 4u + 1u, N - 1u) * QKV4]);
      let v2 = vec4<f32>(tile[v_at + min(k4 * 4u + 2u, N - 1u) * QKV4]);
      let v3 = vec4<f32>(tile[v_at + min(k4 * 4u + 3u, N - 1u) * QKV4]);
      for (var r = 0u; r < AV_ROWS; r += 1u) {
        let p = vec4<f32>(tile[p_at + min(row + r, last) * P_ROW4 + k4]);
        o[i * AV_ROWS + r] += p.x * v0 + p.y * v1 + p.z * v2 + p.w * v3;
      }
    }
  }
  workgroupBarrier();
  for (var i = 0u; i < TURNS; i += 1u) {
    let n4 = (i * WG + lid) % D4;
    for (var r = 0u; r < AV_ROWS; r += 1u) {
      let row = (i * WG + lid) / D4 * AV_ROWS + r;
      if row > last { continue; }
      let t = first + row;
      let prev = o[i * AV_ROWS + r] / dot(sums[row], vec4<f32>(1.0));
      let at = slot + t * ROW4 + n4;
      let next = (head + 1u) * D4 + n4;
      if PROJECT {
        tile[at] = elem4(max(prev, vec4<f32>()));
        if head + 1u < HEADS { tile[at + D4] = elem4(vec4<f32>(tile[at + D4]) + prev); }
      } else {
        if inside(t) { y[token_at(t) + next - D4] = elem4(max(prev, vec4<f32>())); }
        if head + 1u < HEADS { tile[at] = elem4(x_of(t, next) + prev); }
      }
    }
  }
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
  b_at = 0u;
  const GATHER4 = select(D4, C4, PROJECT);
  for (var i = lid; i < N * GATHER4; i += WG) {
    tile[i / GATHER4 * ROW4 + i % GATHER4] = elem4(x_of(i / GATHER4, i % GATHER4));
  }
  for (var head = 0u; head < HEADS; head += 1u) {
    let slot = select(0u, head * D4, PROJECT);
    var k = K0;
    if head == 1u { k = K1; } else if head == 2u { k = K2; } else if head == 3u { k = K3; }
    let table_at = b_at + COLS4 + (k * k + 1u) * 4u;
    if lid < KEYS4 { table[lid] = vec4<f32>(b[table_at + lid]); }
    workgroupBarrier();
    tile_matmul(0u, lid, slot, ROW4, D, head * D * COLS4, COLS4, COLS4 * 4u);
    workgroupBarrier();
    switch head {
      case 0u: { convolve(K0, lid, slot); }
      case 1u: { convolve(K1, lid, slot); }
      case 2u: { convolve(K2, lid, slot); }
      default: { convolve(K3, lid, slot); }
    }
    workgroupBarrier();
    for (var first = 0u; first < N; first += CHUNK) {
      attend(head, lid, first, slot, select(P_AT, slot, ALIAS));
    }
    b_at = table_at + KEYS4;
  }
  if PROJECT {
    workgroupBarrier();
    tile_matmul(1u, lid, 0u, ROW4, CHANNELS, HEADS * D * COLS4, C4, CHANNELS);
  }
}
