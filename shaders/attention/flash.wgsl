// Attention of many queries over a cache, with no matrix of scores in storage. With query i of head h at position
// p = start + i, over the keys k that it sees,
//   s[k] = scale * q[i, h] · key[k] + bias[h, clamp(k - p, -reach, reach) + reach]      the latter with BIAS
//   o[i, h] = Σ_k exp(s[k] - max) value[k] / Σ_k exp(s[k] - max), 0 where it sees none
// CAUSAL: it sees k <= p and, with a window, k > p - window. Else start is the number of keys, it sees all of them,
// and p = i. Position k has slot k % capacity.
// grid: ceil(m / BQ) * HEADS workgroups, folded, heads first, last queries before the first, as they see most. One
// workgroup owns BQ queries of one head and takes BK keys at a time; an invocation owns columns of one query's o.

// variant ---------------------------------------------------------------
alias elem = f32;      // storage type of the cache: f32 | f16
const WG = 256u;       // invocations per workgroup
const HEADS = 4u;
const KV_HEADS = 2u;
const D = 16u;         // a multiple of 4
const BQ = 16u;        // queries of a workgroup: 8 | 16
const CAUSAL = true;
const BIAS = false;
// -----------------------------------------------------------------------

struct Params {
  m: u32,         // queries of a head
  capacity: u32,
  window: u32,    // keys that a query sees, 0 for all
  reach: u32,     // distance at which the bias ends
  scale: f32,
}

@group(0) @binding(0) var<storage, read>       q:     array<vec4<f32>>;   // [m, HEADS, D]
@group(0) @binding(1) var<storage, read>       cache: array<vec4<elem>>;  // [2, KV_HEADS, capacity, D]
@group(0) @binding(2) var<storage, read>       start: array<u32>;         // [1]
@group(0) @binding(3) var<storage, read>       bias:  array<f32>;         // [HEADS, 2 reach + 1]; without BIAS: q
@group(0) @binding(4) var<storage, read_write> o:     array<vec4<f32>>;   // [m, HEADS, D]

const LOWEST = -3.4028234e+38f;
const BK = 32u;
const D4 = D / 4u;
const DOWN = BQ / (WG / BK);                 // queries whose scores with one key an invocation computes
const LANES = WG / BQ;                       // invocations that share a query's o
const EACH = (D4 + LANES - 1u) / LANES;

var<workgroup> rows_q: array<vec4<f32>, BQ * D4>;
var<workgroup> scores: array<vec4<f32>, BQ * BK / 4u>;
var<workgroup> weights: array<vec4<f32>, BQ * BK / 4u>;

// The keys that query i sees: first and one beyond the last.
fn sees(i: u32) -> vec2<u32> {
  if !CAUSAL { return vec2(0u, start[0]); }
  let end = start[0] + i + 1u;
  return vec2(select(0u, end - params.window, params.window > 0u && end > params.window), end);
}

fn slot_of(key: u32) -> u32 {
  if key < params.capacity { return key; }
  return key % params.capacity;
}

fn biased(s: f32, head: u32, i: u32, key: u32) -> f32 {
  if !BIAS { return s; }
  let reach = i32(params.reach);
  let p = select(i, start[0] + i, CAUSAL);
  return s + bias[head * (2u * params.reach + 1u) + u32(clamp(i32(key) - i32(p), -reach, reach) + reach)];
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let tiles = (params.m + BQ - 1u) / BQ;
  let group = wg.x + wg.y * groups.x;
  if group >= tiles * HEADS { return; }
  let head = group % HEADS;
  let kv = head / (HEADS / KV_HEADS);
  let row0 = (tiles - 1u - group / HEADS) * BQ;
  let begin = sees(row0).x;
  let end = sees(min(row0 + BQ, params.m) - 1u).y;
  for (var at = lid; at < BQ * D4; at += WG) {
    let row = min(row0 + at / D4, params.m - 1u);
    rows_q[at] = q[(row * HEADS + head) * D4 + at % D4] * params.scale;
  }
  let r = lid / LANES;
  let lane = lid % LANES;
  var top = LOWEST;
  var sum = 0.0;
  var out: array<vec4<f32>, EACH>;
  workgroupBarrier();
  for (var key0 = begin; key0 < end; key0 += BK) {
    let key = key0 + lid % BK;
    let from_row = lid / BK * DOWN;
    let key_at = (kv * params.capacity + slot_of(key)) * D4;
    var dots: array<f32, DOWN>;
    for (var c = 0u; c < D4; c += 1u) {
      let k4 = vec4<f32>(cache[key_at + c]);
      //!unroll
      for (var j = 0u; j < DOWN; j += 1u) { dots[j] += dot(rows_q[(from_row + j) * D4 + c], k4); }
    }
    //!unroll
    for (var j = 0u; j < DOWN; j += 1u) {
      let row = from_row + j;
      let seen = sees(min(row0 + row, params.m - 1u));
      let s = biased(dots[j], head, row0 + row, key);
      scores[(row * BK + lid % BK) / 4u][lid % 4u] = select(LOWEST, s, key >= seen.x && key < seen.y);
    }
    workgroupBarrier();
    var most = top;
    for (var j = 0u; j < BK / 4u; j += 1u) {
      let s = scores[r * (BK / 4u) + j];
      most = max(most, max(max(s.x, s.y), max(s.z, s.w)));
    }
    let seen = sees(min(row0 + r, params.m - 1u));  // a row that is not there sees nothing unwritten
    for (var j = lane; j < BK; j += LANES) {
      let at = r * BK + j;
      let e = exp(scores[at / 4u][at % 4u] - most);
      weights[at / 4u][at % 4u] = select(0.0, e, key0 + j >= seen.x && key0 + j < seen.y);
    }
    workgroupBarrier();
    let old = exp(top - most);
    top = most;
    sum *= old;
    //!unroll
    for (var i = 0u; i < EACH; i += 1u) { out[i] *= old; }
    for (var j = 0u; j < min(BK, end - key0); j += 1u) {  // what no one wrote may be no number
      let at = r * BK + j;
      let weight = weights[at / 4u][at % 4u];
      let value_at = ((KV_HEADS + kv) * params.capacity + slot_of(key0 + j)) * D4;
      sum += weight;
      //!unroll
      for (var i = 0u; i < EACH; i += 1u) {
        let c = min(i * LANES + lane, D4 - 1u);
        out[i] += weight * vec4<f32>(cache[value_at + c]);
      }
    }
  }
  let row = row0 + r;
  let scale = select(0.0, 1.0 / sum, end > begin);
  //!unroll
  for (var i = 0u; i < EACH; i += 1u) {
    let c = i * LANES + lane;
    if row < params.m && c < D4 { o[(row * HEADS + head) * D4 + c] = out[i] * scale; }
  }
}
