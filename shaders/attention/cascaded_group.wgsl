// Cascaded group attention of EfficientViT: all heads of one window, and nothing between them in storage.
//   f_i = x_i + prev                         x_i: channels i D ..; prev: head i - 1's output before ReLU, 0 for i = 0
//   q, k, v = f_i wqkv_i + bqkv_i            16, 16 and D columns
//   q = depthwise K_i x K_i of q + bdw_i     zeros beyond the window; the scale of 0.25 is in its weights
//   a[t, s] = softmax_s(q_t · k_s + bias_i[t, s])
//   prev = a v;  o_i = relu(prev)
//   y = x + concat(o) wproj + bproj          PROJECT, else y = concat(o)
// Tokens of a window beyond the map are x = 0 and unmasked keys; their output is not stored.
// w  per head wqkv [D, 32 + D]; then, where PROJECT, wproj [C, C]
// b  per head bqkv [32 + D], wdw [K_i, K_i, 16], bdw [16], bias_i as window_attention takes it; then bproj [C]
// grid: B * ceil(H / WS) * ceil(W / WS) workgroups, folded. One workgroup owns one window.
// D is a multiple of 4, at least 16.
//!use tile_matmul
//!use window_attention

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
const HELD = 2u;       // in workgroup memory: 2: f of all heads, as it is where PROJECT; 1: of one head; 0: none of it, but
                       // in y, in the channels that the head's output takes later; then a map is whole windows
const STAGE = true;    // a head's biases and taps are kept in workgroup memory, loaded during the head before
const X_PARTS = 1u;      // that x comes in: it is their sum
// -----------------------------------------------------------------------
alias elem4 = vec4<elem>;

const N = WS * WS;
const ROWS = N;
const D4 = D / 4u;
const C4 = CHANNELS / 4u;
const COLS4 = 8u + D4;                // columns of q k v
const K_MAX = max(max(K0, K1), max(K2, K3));
const STAGED = select(2u, (COLS4 + (K_MAX * K_MAX + 1u) * 4u + 1u) / 2u * 2u, STAGE);
const AHEAD = (STAGED + WG - 1u) / WG;

// Workgroup memory: rows of f as HELD says, rows of q k v, rows of p. Once q k v are made, f's columns hold q after its
// convolution; once the scores are in registers, p, where it fits there.
const WHOLE = HELD == 2u;
const ALIAS = HELD > 0u && P_ROWS >= N && (!WHOLE || D4 >= P4);
const OF_HEAD4 = select(4u, select(D4, max(D4, P4), P_ROWS >= N), HELD > 0u);
const ROW4 = PAD + select(OF_HEAD4, C4, WHOLE);
const QKV4 = COLS4 + PAD;
const QKV_AT = N * ROW4;
const P_AT = QKV_AT + N * QKV4;
const P_ROW4 = select(P4, ROW4, ALIAS);

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

var<workgroup> tile: array<elem4, P_AT + select(P_ROWS * P4, 0u, ALIAS)>;
var<workgroup> staged: array<elem4, STAGED>;

var<private> origin: vec3<u32>;  // the window's image, first row and column
var<private> b_at: u32;          // this head's part of b
var<private> f_at: u32;          // where this head's channels begin in y, in elem4

// Where token t is in x and y, in elem4.
fn token_at(t: u32) -> u32 {
  return ((origin.x * params.h + origin.y + t / WS) * params.w + origin.z + t % WS) * C4;
}

fn inside(t: u32) -> bool {
  return t < N && origin.y + t / WS < params.h && origin.z + t % WS < params.w;
}

// The parts of x at one place, as one.
fn x_at(at: u32) -> vec4<f32> {
  var sum = vec4<f32>(x[at]);
  for (var p = 1u; p < X_PARTS; p += 1u) { sum += vec4<f32>(x[p * params.part4 + at]); }
  return sum;
}

fn x_of(t: u32, c4: u32) -> vec4<f32> {
  if inside(t) { return x_at(token_at(t) + c4); }
  return vec4<f32>();
}

// Element i of this head's taps and biases.
fn tap_of(i: u32) -> f32 {
  if STAGE { return f32(staged[i / 4u][i % 4u]); }
  return f32(b[b_at + i / 4u][i % 4u]);
}

fn tile_load(at: u32) -> vec4<f32> {
  if HELD == 0u { return vec4<f32>(y[token_at(at / D4) + f_at + at % D4]); }
  return vec4<f32>(tile[at]);
}

fn tile_store(stage: u32, row: u32, n4: u32, v: vec4<f32>) {
  if stage == 0u {
    if STAGE { tile[QKV_AT + row * QKV4 + n4] = elem4(v + vec4<f32>(staged[n4])); }
    else { tile[QKV_AT + row * QKV4 + n4] = elem4(v + vec4<f32>(b[b_at + n4])); }
  } else if inside(row) {
    let at = token_at(row) + n4;
    y[at] = elem4(x_at(at) + v + vec4<f32>(b[b_at + n4]));
  }
}

// Head's output for token t, columns 4 n4 ..: into o, and into the next head's f.
fn attention_store(head: u32, slot: u32, t: u32, n4: u32, prev: vec4<f32>) {
  let at = slot + t * ROW4 + n4;
  let o = elem4(max(prev, vec4<f32>()));
  if PROJECT { tile[at] = o; } else if inside(t) { y[token_at(t) + head * D4 + n4] = o; }
  if head + 1u < HEADS {
    if WHOLE { tile[at + D4] = elem4(vec4<f32>(tile[at + D4]) + prev); }
    else if HELD == 0u { y[token_at(t) + (head + 1u) * D4 + n4] = elem4(x_of(t, (head + 1u) * D4 + n4) + prev); }
    else { tile[at] = elem4(x_of(t, (head + 1u) * D4 + n4) + prev); }
  }
}

// q after its depthwise convolution of side k, into the first columns at slot. One invocation owns one channel of
// one row of the window.
fn convolve(k: u32, lid: u32, slot: u32) {
  for (var i = lid; i < WS * 16u; i += WG) {
    let ty = i / 16u;
    let c = i % 16u;
    let taps = COLS4 * 4u + c;
    let bias = tap_of(taps + k * k * 16u);
    var sum: array<f32, WS>;
    for (var tx = 0u; tx < WS; tx += 1u) { sum[tx] = bias; }
    for (var ky = 0u; ky < k; ky += 1u) {
      let row = ty + ky - k / 2u;  // wraps to a large number above the window
      if row >= WS { continue; }
      var q: array<f32, WS>;
      for (var tx = 0u; tx < WS; tx += 1u) { q[tx] = f32(tile[QKV_AT + (row * WS + tx) * QKV4 + c / 4u][c % 4u]); }
      for (var kx = 0u; kx < k; kx += 1u) {
        let tap = tap_of(taps + (ky * k + kx) * 16u);
        for (var tx = 0u; tx < WS; tx += 1u) {
          let column = tx + kx - k / 2u;
          if column < WS { sum[tx] += tap * q[column]; }
        }
      }
    }
    for (var tx = 0u; tx < WS; tx += 1u) { tile[slot + (ty * WS + tx) * ROW4 + c / 4u][c % 4u] = elem(sum[tx]); }
  }
}

fn side_of(head: u32) -> u32 {
  if head == 0u { return K0; }
  if head == 1u { return K1; }
  if head == 2u { return K2; }
  return K3;
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
  if STAGE {
    for (var i = lid; i < COLS4 + (K0 * K0 + 1u) * 4u; i += WG) { staged[i] = b[i]; }
  }
  const GATHERED = select(D4, C4, WHOLE);
  for (var i = lid; i < N * GATHERED; i += WG) {
    let v = elem4(x_of(i / GATHERED, i % GATHERED));
    if HELD == 0u { y[token_at(i / GATHERED) + i % GATHERED] = v; }
    else { tile[i / GATHERED * ROW4 + i % GATHERED] = v; }
  }
  for (var head = 0u; head < HEADS; head += 1u) {
    let slot = select(0u, head * D4, WHOLE);
    f_at = head * D4;
    if HELD == 0u { storageBarrier(); }
    workgroupBarrier();
    tile_matmul(0u, lid, slot, select(ROW4, D4, HELD == 0u), D, head * D * COLS4, COLS4, COLS4 * 4u);
    workgroupBarrier();
    switch head {
      case 0u: { convolve(K0, lid, slot); }
      case 1u: { convolve(K1, lid, slot); }
      case 2u: { convolve(K2, lid, slot); }
      default: { convolve(K3, lid, slot); }
    }
    let bias_at = b_at + COLS4 + (side_of(head) * side_of(head) + 1u) * 4u;
    let next_at = bias_at + BIAS4;
    let next_side = side_of(head + 1u);
    let next = select(0u, COLS4 + (next_side * next_side + 1u) * 4u, STAGE && head + 1u < HEADS);
    var ahead: array<elem4, AHEAD>;
    for (var i = 0u; i < AHEAD; i += 1u) {
      if i * WG + lid < next { ahead[i] = b[next_at + i * WG + lid]; }
    }
    workgroupBarrier();
    window_attention(head, lid, slot, select(P_AT, slot, ALIAS), bias_at);
    for (var i = 0u; i < AHEAD; i += 1u) {
      if i * WG + lid < next { staged[i * WG + lid] = ahead[i]; }
    }
    b_at = next_at;
  }
  if PROJECT {
    workgroupBarrier();
    tile_matmul(1u, lid, 0u, ROW4, CHANNELS, HEADS * D * COLS4, C4, CHANNELS);
  }
}
