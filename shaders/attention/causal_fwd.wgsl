// Attention of whole sequences, as training needs it. With query i of head h of sequence b, over the keys j that it sees
// (CAUSAL: j <= i; LENGTHS: j < lengths[b]):
//   s[j] = scale * q[b, i, h] · k[b, j, h'] + bias[h, j - i + len - 1],  lse[b, h, i] = ln Σ_j exp(s[j])
//   o[b, i, h] = Σ_j exp(s[j] - lse) v[b, j, h']
// A query that sees nothing has an o of 0, and an lse so large that its weights are 0.
// grid: ceil(len / BQ) * batch * HEADS workgroups, folded, last queries before the first, as they see most. One
// workgroup owns BQ queries of one head and takes BK keys at a time; an invocation owns four columns of one o.

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
@group(0) @binding(3) var<storage, read>       bias:    array<f32>;        // [HEADS, len + keys - 1]; without BIAS: q
@group(0) @binding(4) var<storage, read>       lengths: array<u32>;        // [batch]; without LENGTHS: q
@group(0) @binding(5) var<storage, read_write> o:       array<vec4<f32>>;  // [batch, len, HEADS, D]
@group(0) @binding(6) var<storage, read_write> lse:     array<f32>;        // [batch, HEADS, len]

const WG = 256u;
const BK = 32u;
const LOWEST = -3.4028234e+38f;
const NOTHING = 1e30;         // lse of a query that sees nothing
const D4 = D / 4u;
const DOWN = BQ * BK / WG;    // queries whose scores with one key an invocation computes
const LANES = WG / BQ;        // invocations that share an o, D4 at least

var<workgroup> rows_q: array<vec4<f32>, BQ * D4>;
var<workgroup> scores: array<f32, BQ * BK>;
var<workgroup> weights: array<f32, BQ * BK>;

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
  for (var at = lid; at < BQ * D4; at += WG) {
    let row = b * params.len + min(row0 + at / D4, params.len - 1u);
    rows_q[at] = q[(row * HEADS + head) * D4 + at % D4] * params.scale;
  }
  let r = lid / LANES;
  let lane = lid % LANES;
  let c = min(lane, D4 - 1u);
  let own = row0 + r;
  var seen = end;
  if CAUSAL { seen = min(seen, own + 1u); }
  var top = LOWEST;
  var sum = 0.0;
  var out = vec4<f32>();
  workgroupBarrier();
  for (var key0 = 0u; key0 < end; key0 += BK) {
    let key = key0 + lid % BK;
    let from_row = lid / BK * DOWN;
    let key_at = ((b * params.keys + min(key, params.keys - 1u)) * KV_HEADS + kv) * D4;
    var dots: array<f32, DOWN>;
    for (var i = 0u; i < D4; i += 1u) {
      let k4 = k[key_at + i];
      //!unroll
      for (var j = 0u; j < DOWN; j += 1u) { dots[j] += dot(rows_q[(from_row + j) * D4 + i], k4); }
    }
    //!unroll
    for (var j = 0u; j < DOWN; j += 1u) {
      let row = row0 + from_row + j;
      var score = dots[j];
      if BIAS {
        let away = min(key, params.keys - 1u) + params.len - 1u - min(row, params.len - 1u);
        score += bias[head * (params.len + params.keys - 1u) + away];
      }
      scores[(from_row + j) * BK + lid % BK] = select(LOWEST, score, key < end && (!CAUSAL || key <= row));
    }
    workgroupBarrier();
    var most = top;
    for (var j = 0u; j < BK; j += 1u) { most = max(most, scores[r * BK + j]); }
    for (var j = lane; j < BK; j += LANES) {
      weights[r * BK + j] = select(0.0, exp(scores[r * BK + j] - most), key0 + j < seen);
    }
    workgroupBarrier();
    let old = exp(top - most);
    top = most;
    sum *= old;
    out *= old;
    for (var j = 0u; j < min(BK, end - key0); j += 1u) {
      let weight = weights[r * BK + j];
      sum += weight;
      out += weight * v[((b * params.keys + key0 + j) * KV_HEADS + kv) * D4 + c];
    }
  }
  if own >= params.len { return; }
  if lane < D4 { o[((b * params.len + own) * HEADS + head) * D4 + c] = out * select(0.0, 1.0 / sum, sum > 0.0); }
  if lane == 0u { lse[(b * HEADS + head) * params.len + own] = select(NOTHING, top + log(sum), sum > 0.0); }
}
