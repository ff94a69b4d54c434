// o[i, h] = Σ_c exp(top_c - top) partial[c, i, h] / Σ_c exp(top_c - top) sum_c, (top_c, sum_c) = stats[c, i, h] and
// top = max_c top_c, over the chunks c into which query i sees: what attention/decode left of each chunk, joined.
// A query that sees no key gets 0. Chunks are summed in an order that depends on the query's position alone.
// grid: m * HEADS workgroups, folded. One workgroup owns one head of one query, an invocation four columns of it
// and every SPLIT-th chunk.

// variant ---------------------------------------------------------------
const WG = 256u;       // invocations per workgroup
const HEADS = 4u;
const D = 16u;         // a multiple of 4
const CHUNK = 64u;     // keys of a chunk
const SPLIT = 64u;     // at most WG * 4 / D
const CAUSAL = true;
// -----------------------------------------------------------------------

struct Params {
  m: u32,
  window: u32,  // keys that a query sees, 0 for all
  chunks: u32,  // in partial
}

@group(0) @binding(0) var<storage, read>       partial: array<vec4<f32>>;  // [chunks, m, HEADS, D]
@group(0) @binding(1) var<storage, read>       stats:   array<vec2<f32>>;  // [chunks, m, HEADS]
@group(0) @binding(2) var<storage, read>       start:   array<u32>;        // [1]
@group(0) @binding(3) var<storage, read_write> o:       array<vec4<f32>>;  // [m, HEADS, D]

const LOWEST = -3.4028234e+38f;
const D4 = D / 4u;

var<workgroup> parts: array<vec4<f32>, SPLIT * D4>;
var<workgroup> parts_top: array<f32, SPLIT>;
var<workgroup> parts_sum: array<f32, SPLIT>;

// The keys that query i sees: first and one beyond the last.
fn sees(i: u32) -> vec2<u32> {
  if !CAUSAL { return vec2(0u, start[0]); }
  let end = start[0] + i + 1u;
  return vec2(select(0u, end - params.window, params.window > 0u && end > params.window), end);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let row = wg.x + wg.y * groups.x;
  if row >= params.m * HEADS { return; }
  let column = lid % D4;
  let split = lid / D4;
  let seen = sees(row / HEADS);
  let before = sees(0u).x / CHUNK;
  let from_chunk = seen.x / CHUNK - before;
  let end_chunk = min((seen.y + CHUNK - 1u) / CHUNK - before, params.chunks);
  var top = LOWEST;
  var sum = 0.0;
  var v = vec4<f32>();
  if split < SPLIT {
    for (var c = from_chunk + split; c < end_chunk; c += SPLIT) {
      let at = c * params.m * HEADS + row;
      let more = stats[at];
      let both = max(top, more.x);
      let old = exp(top - both);
      let new_ = exp(more.x - both);
      v = fma(v, vec4<f32>(old), partial[at * D4 + column] * new_);
      sum = fma(sum, old, more.y * new_);
      top = both;
    }
    parts[split * D4 + column] = v;
    if column == 0u {
      parts_top[split] = top;
      parts_sum[split] = sum;
    }
  }
  workgroupBarrier();
  if lid < D4 {
    var most = LOWEST;
    for (var j = 0u; j < SPLIT; j += 1u) { most = max(most, parts_top[j]); }
    var total = 0.0;
    var all = vec4<f32>();
    for (var j = 0u; j < SPLIT; j += 1u) {
      let weight = exp(parts_top[j] - most);
      all = fma(parts[j * D4 + lid], vec4<f32>(weight), all);
      total = fma(parts_sum[j], weight, total);
    }
    if seen.y == seen.x { total = 1.0; }
    o[row * D4 + lid] = all / total;
  }
}
