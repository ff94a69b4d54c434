// Attention of a few queries over a cache, a chunk of keys at a time; attention/combine joins the chunks. With query
// i of head h at position p = start + i, over the keys k of a chunk that it sees,
//   s[k] = scale * q[i, h] · key[k] + bias[h, clamp(k - p, -reach, reach) + reach]      the latter with BIAS
//   stats = (max_k s[k], Σ_k exp(s[k] - max));  partial = Σ_k exp(s[k] - max) value[k]
// CAUSAL: it sees k <= p and, with a window, k > p - window. Else start is the number of keys, it sees all of them,
// and p = i. Position k has slot k % capacity.
// Chunk c holds keys CHUNK * c .., wherever the queries are; the first that query 0 sees into comes first in partial.
// A query's result depends on its position alone: every sum has one order, and multiply-adds are fused where written
// so and nowhere else. A query that sees into no key of a chunk leaves its part unwritten.
// grid: KV_HEADS * chunks workgroups, folded, heads first. One workgroup owns a chunk of one head of the cache: each
// invocation holds some of its keys and of its values while ROWS at a time of that head's queries pass.

// variant ---------------------------------------------------------------
alias elem = f32;      // storage type of the cache: f32 | f16
const WG = 256u;       // invocations per workgroup
const HEADS = 4u;
const KV_HEADS = 2u;
const D = 16u;         // a multiple of 4
const CHUNK = 64u;     // keys of a chunk
const PARTS = 4u;      // invocations that share a key: 4 | 8; CHUNK is a multiple of WG / PARTS
const SPLIT = 16u;     // parts of the keys in the sum over values, at most WG * 4 / D; CHUNK is a multiple of 4 * SPLIT
const ROWS = 2u;       // queries at a time
const CAUSAL = true;
const BIAS = false;
// -----------------------------------------------------------------------

struct Params {
  m: u32,         // queries of a head
  capacity: u32,
  window: u32,    // keys that a query sees, 0 for all
  reach: u32,     // distance at which the bias ends
  chunks: u32,    // in partial
  scale: f32,
}

@group(0) @binding(0) var<storage, read>       q:       array<vec4<f32>>;   // [m, HEADS, D]
@group(0) @binding(1) var<storage, read>       cache:   array<vec4<elem>>;  // [2, KV_HEADS, capacity, D]
@group(0) @binding(2) var<storage, read>       start:   array<u32>;         // [1]
@group(0) @binding(3) var<storage, read>       bias:    array<f32>;         // [HEADS, 2 reach + 1]; without BIAS: q
@group(0) @binding(4) var<storage, read_write> partial: array<vec4<f32>>;   // [chunks, m, HEADS, D]
@group(0) @binding(5) var<storage, read_write> stats:   array<vec2<f32>>;   // [chunks, m, HEADS]

const LOWEST = -3.4028234e+38f;
const GROUP = HEADS / KV_HEADS;
const D4 = D / 4u;
const AT_ONCE = WG / PARTS;                    // keys whose scores are computed at a time
const TURNS = CHUNK / AT_ONCE;
const OF_KEY = (D4 + PARTS - 1u) / PARTS;      // vec4 of a key that an invocation holds
const EACH = CHUNK / SPLIT;                    // values that an invocation holds a vec4 of
const SEGMENTS = 8u;                           // of a row of scores, each with its maximum
const SEGMENT4 = CHUNK / 4u / SEGMENTS;

var<workgroup> rows_q: array<vec4<f32>, ROWS * D4>;
var<workgroup> parts: array<vec4<f32>, ROWS * max(CHUNK * PARTS / 4u, SPLIT * D4)>;
var<workgroup> scores: array<vec4<f32>, ROWS * CHUNK / 4u>;
var<workgroup> tops: array<vec4<f32>, ROWS * SEGMENTS / 4u>;

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

fn largest(v: vec4<f32>) -> f32 {
  return max(max(v.x, v.y), max(v.z, v.w));
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let group = wg.x + wg.y * groups.x;
  let kv = group % KV_HEADS;
  let chunk = group / KV_HEADS;
  let begin = sees(0u).x;
  let end = sees(params.m - 1u).y;
  let key0 = (begin / CHUNK + chunk) * CHUNK;
  if chunk >= params.chunks || key0 >= end { return; }

  let part = lid % PARTS;
  var keys: array<vec4<f32>, TURNS * OF_KEY>;
  //!unroll
  for (var t = 0u; t < TURNS; t += 1u) {
    let at = (kv * params.capacity + slot_of(key0 + t * AT_ONCE + lid / PARTS)) * D4 + part;
    //!unroll
    for (var i = 0u; i < OF_KEY; i += 1u) {
      if D4 % PARTS == 0u || part + i * PARTS < D4 { keys[t * OF_KEY + i] = vec4<f32>(cache[at + i * PARTS]); }
    }
  }
  let column = lid % D4;
  let split = lid / D4;
  var values: array<vec4<f32>, EACH>;
  //!unroll
  for (var j = 0u; j < EACH; j += 1u) {
    let key = key0 + min(split, SPLIT - 1u) * EACH + j;
    let v = vec4<f32>(cache[((KV_HEADS + kv) * params.capacity + slot_of(key)) * D4 + column]);
    values[j] = select(vec4<f32>(), v, key >= begin && key < end);  // what no one wrote may be no number
  }

  let all = params.m * GROUP;
  for (var first = 0u; first < all; first += ROWS) {
    let live = min(ROWS, all - first);
    for (var at = lid; at < live * D4; at += WG) {
      let row = first + at / D4;
      rows_q[at] = q[(row / GROUP * HEADS + kv * GROUP + row % GROUP) * D4 + at % D4] * params.scale;
    }
    workgroupBarrier();
    for (var r = 0u; r < live; r += 1u) {
      var sum: array<vec4<f32>, TURNS>;
      //!unroll
      for (var i = 0u; i < OF_KEY; i += 1u) {
        if D4 % PARTS == 0u || part + i * PARTS < D4 {
          let x = rows_q[r * D4 + part + i * PARTS];
          //!unroll
          for (var t = 0u; t < TURNS; t += 1u) {
            sum[t] = fma(keys[t * OF_KEY + i], x, sum[t]);
          }
        }
      }
      //!unroll
      for (var t = 0u; t < TURNS; t += 1u) {
        parts[(r * TURNS + t) * (WG / 4u) + lid / 4u][lid % 4u] = (sum[t].x + sum[t].y) + (sum[t].z + sum[t].w);
      }
    }
    workgroupBarrier();
    for (var at = lid; at < live * CHUNK; at += WG) {
      var sum = parts[at * (PARTS / 4u)];
      if PARTS == 8u { sum += parts[at * (PARTS / 4u) + PARTS / 4u - 1u]; }
      let row = first + at / CHUNK;
      let key = key0 + at % CHUNK;
      let seen = sees(row / GROUP);
      let s = biased((sum.x + sum.y) + (sum.z + sum.w), kv * GROUP + row % GROUP, row / GROUP, key);
      scores[at / 4u][at % 4u] = select(LOWEST, s, key >= seen.x && key < seen.y);
    }
    workgroupBarrier();
    for (var at = lid; at < live * SEGMENTS; at += WG) {
      var most = LOWEST;
      for (var j = 0u; j < SEGMENT4; j += 1u) { most = max(most, largest(scores[at * SEGMENT4 + j])); }
      tops[at / 4u][at % 4u] = most;
    }
    workgroupBarrier();
    for (var at = lid; at < live * CHUNK; at += WG) {
      let r = at / CHUNK;
      let top = max(largest(tops[r * 2u]), largest(tops[r * 2u + 1u]));
      let key = key0 + at % CHUNK;
      let seen = sees((first + r) / GROUP);
      scores[at / 4u][at % 4u] = select(0.0, exp(scores[at / 4u][at % 4u] - top), key >= seen.x && key < seen.y);
    }
    workgroupBarrier();
    for (var r = 0u; r < live; r += 1u) {
      var sum = vec4<f32>();
      //!unroll
      for (var j = 0u; j < EACH / 4u; j += 1u) {
        let e = scores[r * (CHUNK / 4u) + min(split, SPLIT - 1u) * (EACH / 4u) + j];
        sum = fma(vec4<f32>(e.x), values[4u * j], sum);
        sum = fma(vec4<f32>(e.y), values[4u * j + 1u], sum);
        sum = fma(vec4<f32>(e.z), values[4u * j + 2u], sum);
        sum = fma(vec4<f32>(e.w), values[4u * j + 3u], sum);
      }
      if split < SPLIT { parts[(r * SPLIT + split) * D4 + column] = sum; }
    }
    for (var r = lid; r < live; r += WG) {
      var sum = vec4<f32>();
      for (var j = 0u; j < CHUNK / 4u; j += 1u) { sum += scores[r * (CHUNK / 4u) + j]; }
      let row = first + r;
      let seen = sees(row / GROUP);
      if key0 + CHUNK > seen.x && key0 < seen.y {
        let top = max(largest(tops[r * 2u]), largest(tops[r * 2u + 1u]));
        let to = (chunk * params.m + row / GROUP) * HEADS + kv * GROUP + row % GROUP;
        stats[to] = vec2(top, (sum.x + sum.y) + (sum.z + sum.w));
      }
    }
    workgroupBarrier();
    for (var at = lid; at < live * D4; at += WG) {
      let r = at / D4;
      var sum = vec4<f32>();
      for (var j = 0u; j < SPLIT; j += 1u) { sum += parts[(r * SPLIT + j) * D4 + at % D4]; }
      let row = first + r;
      let seen = sees(row / GROUP);
      if key0 + CHUNK > seen.x && key0 < seen.y {
        let to = (chunk * params.m + row / GROUP) * HEADS + kv * GROUP + row % GROUP;
        partial[to * D4 + at % D4] = sum;
      }
    }
  }
}
