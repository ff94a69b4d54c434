// Gradient of attention by its queries. With the scores s[j] of causal_fwd computed again:
//   ds[j] = exp(s[j] - lse) (do[b, i, h] · v[b, j, h'] - do · o),  dq[b, i, h] = scale Σ_j ds[j] k[b, j, h']
// grid: ceil(len / BQ) * batch * HEADS workgroups, folded, last queries before the first. One workgroup owns BQ queries
// of one head and takes BK keys at a time; an invocation owns four columns of one dq.

// variant ---------------------------------------------------------------
const HEADS = 4u;
const KV_HEADS = 2u;
const D = 16u;           // a multiple of 4
const BQ = 32u;          // queries of a workgroup: 8 | 16 | 32, with BQ * D <= 1024
const CAUSAL = true;
const BIAS = false;
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
@group(0) @binding(7) var<storage, read_write> dq:      array<vec4<f32>>;  // [batch, len, HEADS, D]

const WG = 256u;
const BK = 32u;
const D4 = D / 4u;
const DOWN = BQ * BK / WG;    // queries whose scores with one key an invocation computes
const LANES = WG / BQ;        // invocations that share a dq, D4 at least

var<workgroup> rows_q: array<vec4<f32>, BQ * D4>;
var<workgroup> rows_do: array<vec4<f32>, BQ * D4>;
var<workgroup> slopes: array<f32, BQ * BK>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let tiles = (params.len + BQ - 1u) / BQ;
  let all_heads = params.batch * HEADS;
  let group = wg.x + wg.y * groups.x;
  if group >= tiles * all_heads { return; }
  let b = group % all_heads / HEADS;
  let head = group % HEADS;
  let kv = head / (HEADS / KV_HEADS);
  let row0 = (tiles - 1u - group / all_heads) * BQ;
  var end = params.keys;
  if LENGTHS { end = min(end, lengths[b]); }
  if CAUSAL { end = min(end, row0 + BQ); }
  let last = params.len - 1u;
  for (var at = lid; at < BQ * D4; at += WG) {
    let from_at = ((b * params.len + min(row0 + at / D4, last)) * HEADS + head) * D4 + at % D4;
    rows_q[at] = q[from_at] * params.scale;
    rows_do[at] = d_o[from_at];
  }
  let r = lid / LANES;
  let lane = lid % LANES;
  let c = min(lane, D4 - 1u);
  let own = row0 + r;
  let from_row = lid / BK * DOWN;
  var out = vec4<f32>();
  workgroupBarrier();
  for (var key0 = 0u; key0 < end; key0 += BK) {
    let key = key0 + lid % BK;
    let key_at = ((b * params.keys + min(key, params.keys - 1u)) * KV_HEADS + kv) * D4;
    var dots: array<f32, DOWN>;
    var changes: array<f32, DOWN>;
    for (var i = 0u; i < D4; i += 1u) {
      let k4 = k[key_at + i];
      let v4 = v[key_at + i];
      //!unroll
      for (var j = 0u; j < DOWN; j += 1u) {
        dots[j] += dot(rows_q[(from_row + j) * D4 + i], k4);
        changes[j] += dot(rows_do[(from_row + j) * D4 + i], v4);
      }
    }
    //!unroll
    for (var j = 0u; j < DOWN; j += 1u) {
      let row = row0 + from_row + j;
      let stat = stats[(b * HEADS + head) * params.len + min(row, last)];
      var score = dots[j];
      if BIAS {
        let away = min(key, params.keys - 1u) + last - min(row, last);
        score += bias[head * (params.len + params.keys - 1u) + away];
      }
      let slope = exp(score - stat.x) * (changes[j] - stat.y);
      slopes[(from_row + j) * BK + lid % BK] = select(0.0, slope, key < end && (!CAUSAL || key <= row));
    }
    workgroupBarrier();
    for (var j = 0u; j < min(BK, end - key0); j += 1u) {
      out += slopes[r * BK + j] * k[((b * params.keys + key0 + j) * KV_HEADS + kv) * D4 + c];
    }
    workgroupBarrier();
  }
  if own < params.len && lane < D4 {
    dq[((b * params.len + own) * HEADS + head) * D4 + c] = out * params.scale;
  }
}
