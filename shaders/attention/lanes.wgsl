// Attention over a cache on the lanes of a processor. With query i of head h at position p = start + i, over the keys k
// that it sees,
//   s[k] = scale * q[i, h] · key[k] + bias[h, clamp(k - p, -reach, reach) + reach]      the latter with BIAS
//   o[i, h] = Σ_k exp(s[k] - max) value[k] / Σ_k exp(s[k] - max), 0 where it sees none
// CAUSAL: it sees k <= p and, with a window, k > p - window. Else start is the number of keys, it sees all of them,
// and p = i. Position k has slot k % capacity.
// grid: ceil(m * HEADS / KV_HEADS / WG) * KV_HEADS workgroups, folded, of one subgroup each. An invocation owns one query;
// each reads a share of the keys that any of them sees, and hands it on. A query's result does not depend on m.

// variant ---------------------------------------------------------------
alias elem = f32;      // storage type of the cache: f32 | f16
const WG = 8u;         // LANES
const LANES = 8u;      // invocations of a subgroup: 4 | 8 | 16
const HEADS = 4u;
const KV_HEADS = 2u;
const D = 16u;         // a multiple of 4
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

@group(0) @binding(0) var<storage, read>       q:     array<vec4<f32>>;  // [m, HEADS, D]
@group(0) @binding(1) var<storage, read>       cache: array<elem>;       // [2, KV_HEADS, capacity, D]
@group(0) @binding(2) var<storage, read>       start: array<u32>;        // [1]
@group(0) @binding(3) var<storage, read>       bias:  array<f32>;        // [HEADS, 2 reach + 1]; without BIAS: q
@group(0) @binding(4) var<storage, read_write> o:     array<vec4<f32>>;  // [m, HEADS, D]

const LOWEST = -3.4028234e+38f;
const D4 = D / 4u;
const OF = HEADS / KV_HEADS;     // queries of a position that share keys
const STEP = min(LANES, 8u);     // elements that are handed on at a time

// The keys that query i sees: first and one beyond the last.
fn sees(i: u32) -> vec2<u32> {
  if !CAUSAL { return vec2(0u, start[0]); }
  let end = start[0] + i + 1u;
  return vec2(select(0u, end - params.window, params.window > 0u && end > params.window), end);
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
  // By counting: which lane of a subgroup an invocation is is the adapter's choice.
  let rank = subgroupExclusiveAdd(1u) % STEP;
  let queries = params.m * OF;
  let tiles = (queries + WG - 1u) / WG;
  let group = wg.x + wg.y * groups.x;
  if group >= tiles * KV_HEADS { return; }
  let kv = group % KV_HEADS;
  let first = group / KV_HEADS * WG;
  let begin = sees(first / OF).x;
  let end = sees(min(first + WG, queries) / OF - select(1u, 0u, min(first + WG, queries) % OF > 0u)).y;
  let query = min(first + lid, queries - 1u);
  let i = query / OF;
  let head = kv * OF + query % OF;
  let seen = sees(i);
  let at = (i * HEADS + head) * D4;
  var own: array<vec4<f32>, D4>;
  var out: array<vec4<f32>, D4>;
  //!unroll
  for (var c = 0u; c < D4; c += 1u) { own[c] = q[at + c] * params.scale; }
  var top = LOWEST;
  var sum = 0.0;
  for (var k = begin; k < end; k += 1u) {
    let slot = select(k % params.capacity, k, k < params.capacity);
    let key_at = (kv * params.capacity + slot) * D;
    let value_at = ((KV_HEADS + kv) * params.capacity + slot) * D;
    var v = 0.0;
    var s = 0.0;
    //!unroll
    for (var c = 0u; c < D4; c += 1u) {
      if c * 4u % STEP == 0u { v = f32(cache[key_at + min(c * 4u + rank, D - 1u)]); }
      let key = vec4<f32>(
        subgroupBroadcast(v, c * 4u % STEP), subgroupBroadcast(v, c * 4u % STEP + 1u),
        subgroupBroadcast(v, c * 4u % STEP + 2u), subgroupBroadcast(v, c * 4u % STEP + 3u),
      );
      s += dot(own[c], key);
    }
    let visible = k >= seen.x && k < seen.y;
    s = select(LOWEST, biased(s, head, i, k), visible);
    let most = max(top, s);
    let old = exp(top - most);
    let e = select(0.0, exp(s - most), visible);
    top = most;
    sum = sum * old + e;
    //!unroll
    for (var c = 0u; c < D4; c += 1u) {
      if c * 4u % STEP == 0u { v = f32(cache[value_at + min(c * 4u + rank, D - 1u)]); }
      let value = vec4<f32>(
        subgroupBroadcast(v, c * 4u % STEP), subgroupBroadcast(v, c * 4u % STEP + 1u),
        subgroupBroadcast(v, c * 4u % STEP + 2u), subgroupBroadcast(v, c * 4u % STEP + 3u),
      );
      out[c] = out[c] * old + e * value;
    }
  }
  if first + lid >= queries { return; }
  let scale = select(0.0, 1.0 / sum, end > begin);
  //!unroll
  for (var c = 0u; c < D4; c += 1u) { o[at + c] = out[c] * scale; }
}
