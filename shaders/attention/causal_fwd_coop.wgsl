// Causal attention of whole sequences, as causal_fwd has it, on matrix units: what is multiplied is rounded to f16, and
// so are the weights. A matrix has no element access, so its blocks of 16 × 16 pass through a subgroup's own memory.
// grid: ceil(len / BQ) * batch * HEADS workgroups, folded, last queries before the first, as they see most. One
// workgroup owns BQ queries of one head, a subgroup of 32 sixteen of them, and takes BK keys at a time.

// variant ---------------------------------------------------------------
alias elem = f16;
const WG = 128u;         // invocations, a multiple of 32
const HEADS = 4u;
const KV_HEADS = 2u;
const D = 16u;           // a multiple of 16
const BK = 32u;          // keys at a time, a multiple of 16
// -----------------------------------------------------------------------

alias elem4 = vec4<elem>;

struct Params {
  batch: u32,
  len: u32,      // positions of a sequence
  scale: f32,
}

@group(0) @binding(0) var<storage, read>       q:   array<vec4<f32>>;  // [batch, len, HEADS, D]
@group(0) @binding(1) var<storage, read>       k:   array<vec4<f32>>;  // [batch, len, KV_HEADS, D]
@group(0) @binding(2) var<storage, read>       v:   array<vec4<f32>>;  // [batch, len, KV_HEADS, D]
@group(0) @binding(3) var<storage, read_write> o:   array<vec4<f32>>;  // [batch, len, HEADS, D]
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;        // [batch, HEADS, len]

const LOWEST = -3.4028234e+38f;
const BQ = WG / 2u;
const D4 = D / 4u;
const ROW4 = D4 + 2u;          // two more than it holds: rows start in different banks
const P_ROW4 = BK / 4u + 2u;
const ACROSS = D / 16u;        // matrices of a row of blocks
const BLOCKS = BK / 16u;

var<workgroup> rows_q: array<elem4, BQ * ROW4>;
var<workgroup> tile_k: array<elem4, BK * ROW4>;
var<workgroup> tile_v: array<elem4, BK * ROW4>;
var<workgroup> weights: array<elem4, BQ * P_ROW4>;
var<workgroup> block: array<vec4<f32>, WG * 2u>;   // for each subgroup [16, 16]

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
  let end = min(row0 + BQ, params.len);
  let last = params.len - 1u;
  let down = lid / 32u * 16u;      // this subgroup's first query
  let mine = lid / 32u * 64u;      // its part of block
  let lane = lid % 32u;
  let half = lane % 2u;
  let own = row0 + down + lane / 2u;   // this invocation's query: it owns 8 of each 16 columns
  for (var at = lid; at < BQ * D4; at += WG) {
    let from_at = ((b * params.len + min(row0 + at / D4, last)) * HEADS + head) * D4 + at % D4;
    rows_q[at / D4 * ROW4 + at % D4] = elem4(q[from_at] * params.scale);
  }
  workgroupBarrier();
  var queries: array<coop_mat16x16<f16, A>, ACROSS>;
  //!unroll
  for (var c = 0u; c < ACROSS; c += 1u) {
    let at = down * ROW4 + c * 4u;
    queries[c] = coopLoadT<coop_mat16x16<f16, A>>(&rows_q[at], ROW4);
  }
  var top = LOWEST;
  var sum = 0.0;
  var out: array<vec4<f32>, ACROSS * 2u>;
  for (var key0 = 0u; key0 < end; key0 += BK) {
    for (var at = lid; at < BK * D4; at += WG) {
      let from_at = ((b * params.len + min(key0 + at / D4, last)) * KV_HEADS + kv) * D4 + at % D4;
      tile_k[at / D4 * ROW4 + at % D4] = elem4(k[from_at]);
      tile_v[at / D4 * ROW4 + at % D4] = elem4(v[from_at]);
    }
    workgroupBarrier();
    var s: array<vec4<f32>, BLOCKS * 2u>;
    var most = top;
    //!unroll
    for (var i = 0u; i < BLOCKS; i += 1u) {
      var score = coop_mat16x16<f32, C>();
      //!unroll
      for (var c = 0u; c < ACROSS; c += 1u) {
        let at = i * 16u * ROW4 + c * 4u;
        let keys = coopLoad<coop_mat16x16<f16, B>>(&tile_k[at], ROW4);
        score = coopMultiplyAdd(queries[c], keys, score);
      }
      coopStoreT(score, &block[mine], 4u);
      subgroupBarrier();
      //!unroll
      for (var j = 0u; j < 2u; j += 1u) {
        let keys = key0 + i * 16u + half * 8u + j * 4u + vec4<u32>(0u, 1u, 2u, 3u);
        let seen = select(vec4<f32>(LOWEST), block[mine + lane * 2u + j], keys <= vec4<u32>(own));
        s[i * 2u + j] = seen;
        most = max(most, max(max(seen.x, seen.y), max(seen.z, seen.w)));
      }
      subgroupBarrier();
    }
    most = max(most, subgroupShuffleXor(most, 1u));
    let old = exp(top - most);
    top = most;
    sum *= old;
    //!unroll
    for (var i = 0u; i < BLOCKS; i += 1u) {
      //!unroll
      for (var j = 0u; j < 2u; j += 1u) {
        let scores = s[i * 2u + j];
        let weight = elem4(select(exp(scores - most), vec4<f32>(), scores == vec4<f32>(LOWEST)));
        sum += dot(vec4<f32>(weight), vec4<f32>(1.0));
        weights[(down + lane / 2u) * P_ROW4 + i * 4u + half * 2u + j] = weight;
      }
    }
    subgroupBarrier();
    //!unroll
    for (var c = 0u; c < ACROSS; c += 1u) {
      var part = coop_mat16x16<f32, C>();
      //!unroll
      for (var i = 0u; i < BLOCKS; i += 1u) {
        let weights_at = down * P_ROW4 + i * 4u;
        let weight = coopLoadT<coop_mat16x16<f16, A>>(&weights[weights_at], P_ROW4);
        let at = i * 16u * ROW4 + c * 4u;
        let values = coopLoadT<coop_mat16x16<f16, B>>(&tile_v[at], ROW4);
        part = coopMultiplyAdd(weight, values, part);
      }
      coopStoreT(part, &block[mine], 4u);
      subgroupBarrier();
      out[c * 2u] = out[c * 2u] * old + block[mine + lane * 2u];
      out[c * 2u + 1u] = out[c * 2u + 1u] * old + block[mine + lane * 2u + 1u];
      subgroupBarrier();
    }
    workgroupBarrier();
  }
  sum += subgroupShuffleXor(sum, 1u);
  if own < params.len {
    //!unroll
    for (var c = 0u; c < ACROSS * 2u; c += 1u) {
      let to = ((b * params.len + own) * HEADS + head) * D4 + c / 2u * 4u + half * 2u + c % 2u;
      o[to] = out[c] / sum;
    }
    if half == 0u { lse[(b * HEADS + head) * params.len + own] = top + log(sum); }
  }
}
