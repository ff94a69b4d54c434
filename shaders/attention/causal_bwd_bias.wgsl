// Gradient of attention by the bias of its scores, of each sequence alone. With the scores s of causal_fwd computed again,
// over the queries i that see the key at distance d of them, j = i + d - len + 1:
//   parts[b, h, d] = Σ_i exp(s[j] - lse) (do[b, i, h] · v[b, j, h'] - do · o)
// grid: ceil((len + keys - 1) / BD) * batch * HEADS workgroups, folded. One workgroup owns BD distances of one head and
// takes BQ queries at a time; an invocation adds up some of them, in their order, for one distance.

// variant ---------------------------------------------------------------
const HEADS = 4u;
const KV_HEADS = 2u;
const D = 16u;           // a multiple of 4
const BQ = 32u;          // queries taken at a time: 8 | 16 | 32, with BQ * D <= 1024
const CAUSAL = true;
const BIAS = true;
const LENGTHS = false;
// -----------------------------------------------------------------------

struct Params {
  batch: u32,
  len: u32,      // queries of a sequence
  keys: u32,     // keys of a sequence; CAUSAL: len
  scale: f32,
}

@group(0) @binding(0) var<storage, read>       q:       array<vec4<f32>>;  // [batch, len, HEADS, D]
@group(0) @binding(1) var<storage, read>       k:       array<vec4<f32>>;  // [batch, keys, KV_HEADS, D]
@group(0) @binding(2) var<storage, read>       v:       array<vec4<f32>>;  // [batch, keys, KV_HEADS, D]
@group(0) @binding(3) var<storage, read>       d_o:     array<vec4<f32>>;  // [batch, len, HEADS, D]
@group(0) @binding(4) var<storage, read>       stats:   array<vec2<f32>>;  // [batch, HEADS, len, 2]
@group(0) @binding(5) var<storage, read>       bias:    array<f32>;        // [HEADS, len + keys - 1]; without BIAS: q
@group(0) @binding(6) var<storage, read>       lengths: array<u32>;        // [batch]; without LENGTHS: q
@group(0) @binding(7) var<storage, read_write> parts:   array<f32>;        // [batch, HEADS, len + keys - 1]

const WG = 256u;
const BD = 32u;
const D4 = D / 4u;
const DOWN = BQ * BD / WG;    // queries that an invocation takes at a time
const LANES = WG / BD;        // invocations that share a distance

var<workgroup> rows_q: array<vec4<f32>, BQ * D4>;
var<workgroup> rows_do: array<vec4<f32>, BQ * D4>;
var<workgroup> sums: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let span = params.len + params.keys - 1u;
  let tiles = (span + BD - 1u) / BD;
  let all_heads = params.batch * HEADS;
  let group = wg.x + wg.y * groups.x;
  if group >= tiles * all_heads { return; }
  let b = group % all_heads / HEADS;
  let head = group % HEADS;
  let kv = head / (HEADS / KV_HEADS);
  let first = group / all_heads * BD;
  let last = params.len - 1u;
  var length = params.keys;
  if LENGTHS { length = min(length, lengths[b]); }
  // Queries from which one of the distances leads to a key: those i with 0 <= i + d - last < length.
  let most = min(first + BD, span) - 1u;
  let begin = last - min(most, last);
  var end = min(params.len, select(0u, length + last - first, length + last > first));
  if CAUSAL { end = select(end, 0u, first > last); }
  let away = min(first + lid % BD, span - 1u);
  let lane = lid / BD;
  var extra = 0.0;
  if BIAS { extra = bias[head * span + away]; }
  var sum = 0.0;
  for (var row0 = begin; row0 < end; row0 += BQ) {
    workgroupBarrier();
    for (var at = lid; at < BQ * D4; at += WG) {
      let from_at = ((b * params.len + min(row0 + at / D4, last)) * HEADS + head) * D4 + at % D4;
      rows_q[at] = q[from_at] * params.scale;
      rows_do[at] = d_o[from_at];
    }
    workgroupBarrier();
    for (var j = 0u; j < DOWN; j += 1u) {
      let r = lane * DOWN + j;
      let row = row0 + r;
      let sees = row + away >= last && row + away - last < length && row <= last && (!CAUSAL || away <= last);
      if !sees { continue; }
      let key_at = ((b * params.keys + row + away - last) * KV_HEADS + kv) * D4;
      var score = extra;
      var change = 0.0;
      for (var i = 0u; i < D4; i += 1u) {
        score += dot(rows_q[r * D4 + i], k[key_at + i]);
        change += dot(rows_do[r * D4 + i], v[key_at + i]);
      }
      let stat = stats[(b * HEADS + head) * params.len + row];
      sum += exp(score - stat.x) * (change - stat.y);
    }
  }
  sums[lid] = sum;
  workgroupBarrier();
  if lid < BD && first + lid < span {
    var whole = 0.0;
    for (var i = 0u; i < LANES; i += 1u) { whole += sums[i * BD + lid]; }
    parts[(b * HEADS + head) * span + first + lid] = whole;
  }
}
