// Gradients of attention by its keys and values. With the scores s of causal_fwd computed again, over the heads h that
// share key head h' and the queries i that see key j:
//   w = exp(s - lse[b, h, i]),  dv[b, j, h'] = Σ w do[b, i, h]
//   ds = w (do[b, i, h] · v[b, j, h'] - do · o),  dk[b, j, h'] = scale Σ ds q[b, i, h]
// grid: ceil(keys / BQ) * batch * KV_HEADS workgroups, folded, first keys before the last, as most see those. One
// workgroup owns BQ keys of one head and takes BK queries at a time; an invocation owns four columns of one dk and dv.

// variant ---------------------------------------------------------------
const HEADS = 4u;
const KV_HEADS = 2u;
const D = 16u;           // a multiple of 4
const BQ = 32u;          // keys of a workgroup: 8 | 16 | 32, with BQ * D <= 1024
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
@group(0) @binding(7) var<storage, read_write> d_kv:    array<vec4<f32>>;  // [2, batch, keys, KV_HEADS, D]: dk, dv

const WG = 256u;
const BK = 32u;
const D4 = D / 4u;
const GROUP = HEADS / KV_HEADS;
const DOWN = BQ * BK / WG;    // keys whose scores with one query an invocation computes
const LANES = WG / BQ;        // invocations that share a key, D4 at least

var<workgroup> rows_k: array<vec4<f32>, BQ * D4>;
var<workgroup> rows_v: array<vec4<f32>, BQ * D4>;
var<workgroup> weights: array<f32, BQ * BK>;
var<workgroup> slopes: array<f32, BQ * BK>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let tiles = (params.keys + BQ - 1u) / BQ;
  let all_heads = params.batch * KV_HEADS;
  let group = wg.x + wg.y * groups.x;
  if group >= tiles * all_heads { return; }
  let b = group % all_heads / KV_HEADS;
  let kv = group % KV_HEADS;
  let key0 = group / all_heads * BQ;
  let last = params.len - 1u;
  let last_key = params.keys - 1u;
  var length = params.keys;
  if LENGTHS { length = min(length, lengths[b]); }
  // Keys that nobody sees have nothing to add up.
  let end = select(0u, params.len, key0 < length);
  for (var at = lid; at < BQ * D4; at += WG) {
    let from_at = ((b * params.keys + min(key0 + at / D4, last_key)) * KV_HEADS + kv) * D4 + at % D4;
    rows_k[at] = k[from_at] * params.scale;
    rows_v[at] = v[from_at];
  }
  let r = lid / LANES;
  let lane = lid % LANES;
  let c = min(lane, D4 - 1u);
  let own = key0 + r;
  let from_key = lid / BK * DOWN;
  var out_k = vec4<f32>();
  var out_v = vec4<f32>();
  workgroupBarrier();
  for (var head = kv * GROUP; head < (kv + 1u) * GROUP; head += 1u) {
    for (var row0 = select(0u, key0, CAUSAL); row0 < end; row0 += BK) {
      let row = row0 + lid % BK;
      let row_at = ((b * params.len + min(row, last)) * HEADS + head) * D4;
      var dots: array<f32, DOWN>;
      var changes: array<f32, DOWN>;
      for (var i = 0u; i < D4; i += 1u) {
        let q4 = q[row_at + i];
        let do4 = d_o[row_at + i];
        //!unroll
        for (var j = 0u; j < DOWN; j += 1u) {
          dots[j] += dot(rows_k[(from_key + j) * D4 + i], q4);
          changes[j] += dot(rows_v[(from_key + j) * D4 + i], do4);
        }
      }
      let stat = stats[(b * HEADS + head) * params.len + min(row, last)];
      //!unroll
      for (var j = 0u; j < DOWN; j += 1u) {
        let key = key0 + from_key + j;
        var score = dots[j];
        if BIAS {
          let away = min(key, last_key) + last - min(row, last);
          score += bias[head * (params.len + params.keys - 1u) + away];
        }
        let sees = key < length && row <= last && (!CAUSAL || key <= row);
        let weight = select(0.0, exp(score - stat.x), sees);
        let to = (from_key + j) * BK + lid % BK;
        weights[to] = weight;
        slopes[to] = weight * (changes[j] - stat.y);
      }
      workgroupBarrier();
      for (var j = 0u; j < min(BK, params.len - row0); j += 1u) {
        let at = ((b * params.len + row0 + j) * HEADS + head) * D4 + c;
        out_k += slopes[r * BK + j] * q[at];
        out_v += weights[r * BK + j] * d_o[at];
      }
      workgroupBarrier();
    }
  }
  if own < params.keys && lane < D4 {
    let to = ((b * params.keys + own) * KV_HEADS + kv) * D4 + c;
    d_kv[to] = out_k * params.scale;
    d_kv[to + params.batch * params.keys * KV_HEADS * D4] = out_v;
  }
}
