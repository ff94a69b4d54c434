// Gradient of causal attention by its queries, as causal_bwd_dq has it, on matrix units: what is multiplied is rounded
// to f16, and so are the slopes ds. A matrix has no element access, so scores pass through a subgroup's own memory.
// grid: ceil(len / BQ) * batch * HEADS workgroups, folded, last queries before the first. One workgroup owns BQ queries
// of one head, a subgroup of 32 sixteen of them, and takes BK keys at a time.

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

@group(0) @binding(0) var<storage, read>       q:     array<vec4<f32>>;  // [batch, len, HEADS, D]
@group(0) @binding(1) var<storage, read>       k:     array<vec4<f32>>;  // [batch, len, KV_HEADS, D]
@group(0) @binding(2) var<storage, read>       v:     array<vec4<f32>>;  // [batch, len, KV_HEADS, D]
@group(0) @binding(3) var<storage, read>       d_o:   array<vec4<f32>>;  // [batch, len, HEADS, D]
@group(0) @binding(4) var<storage, read>       stats: array<vec2<f32>>;  // [batch, HEADS, len, 2]
@group(0) @binding(5) var<storage, read_write> dq:    array<vec4<f32>>;  // [batch, len, HEADS, D]

const BQ = WG / 2u;
const D4 = D / 4u;
const ROW4 = D4 + 2u;          // two more than it holds: rows start in different banks
const S_ROW4 = BK / 4u + 2u;
const ACROSS = D / 16u;        // matrices of a row of blocks
const BLOCKS = BK / 16u;

var<workgroup> rows_q: array<elem4, BQ * ROW4>;
var<workgroup> rows_do: array<elem4, BQ * ROW4>;
var<workgroup> tile_k: array<elem4, BK * ROW4>;
var<workgroup> tile_v: array<elem4, BK * ROW4>;
var<workgroup> slopes: array<elem4, BQ * S_ROW4>;
var<workgroup> block: array<vec4<f32>, WG * 4u>;   // for each subgroup 2 × [16, 16]

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
  let mine = lid / 32u * 128u;     // its part of block
  let other = mine + 64u;
  let lane = lid % 32u;
  let half = lane % 2u;
  let own = row0 + down + lane / 2u;   // this invocation's query: it owns 8 of each 16 columns
  for (var at = lid; at < BQ * D4; at += WG) {
    let from_at = ((b * params.len + min(row0 + at / D4, last)) * HEADS + head) * D4 + at % D4;
    rows_q[at / D4 * ROW4 + at % D4] = elem4(q[from_at]);
    rows_do[at / D4 * ROW4 + at % D4] = elem4(d_o[from_at]);
  }
  let stat = stats[(b * HEADS + head) * params.len + min(own, last)];
  workgroupBarrier();
  var queries: array<coop_mat16x16<f16, A>, ACROSS>;
  var changes: array<coop_mat16x16<f16, A>, ACROSS>;
  var out: array<coop_mat16x16<f32, C>, ACROSS>;
  //!unroll
  for (var c = 0u; c < ACROSS; c += 1u) {
    let at = down * ROW4 + c * 4u;
    queries[c] = coopLoadT<coop_mat16x16<f16, A>>(&rows_q[at], ROW4);
    changes[c] = coopLoadT<coop_mat16x16<f16, A>>(&rows_do[at], ROW4);
    out[c] = coop_mat16x16<f32, C>();
  }
  for (var key0 = 0u; key0 < end; key0 += BK) {
    for (var at = lid; at < BK * D4; at += WG) {
      let from_at = ((b * params.len + min(key0 + at / D4, last)) * KV_HEADS + kv) * D4 + at % D4;
      tile_k[at / D4 * ROW4 + at % D4] = elem4(k[from_at]);
      tile_v[at / D4 * ROW4 + at % D4] = elem4(v[from_at]);
    }
    workgroupBarrier();
    //!unroll
    for (var i = 0u; i < BLOCKS; i += 1u) {
      var score = coop_mat16x16<f32, C>();
      var change = coop_mat16x16<f32, C>();
      //!unroll
      for (var c = 0u; c < ACROSS; c += 1u) {
        let at = i * 16u * ROW4 + c * 4u;
        let keys = coopLoad<coop_mat16x16<f16, B>>(&tile_k[at], ROW4);
        score = coopMultiplyAdd(queries[c], keys, score);
        let values = coopLoad<coop_mat16x16<f16, B>>(&tile_v[at], ROW4);
        change = coopMultiplyAdd(changes[c], values, change);
      }
      coopStoreT(score, &block[mine], 4u);
      coopStoreT(change, &block[other], 4u);
      subgroupBarrier();
      //!unroll
      for (var j = 0u; j < 2u; j += 1u) {
        let keys = key0 + i * 16u + half * 8u + j * 4u + vec4<u32>(0u, 1u, 2u, 3u);
        let weight = exp(block[mine + lane * 2u + j] * params.scale - stat.x);
        let slope = weight * (block[other + lane * 2u + j] - stat.y);
        let seen = keys <= vec4<u32>(own);
        slopes[(down + lane / 2u) * S_ROW4 + i * 4u + half * 2u + j] = elem4(select(vec4<f32>(), slope, seen));
      }
      subgroupBarrier();
    }
    //!unroll
    for (var i = 0u; i < BLOCKS; i += 1u) {
      let from_at = down * S_ROW4 + i * 4u;
      let slope = coopLoadT<coop_mat16x16<f16, A>>(&slopes[from_at], S_ROW4);
      //!unroll
      for (var c = 0u; c < ACROSS; c += 1u) {
        let at = i * 16u * ROW4 + c * 4u;
        let keys = coopLoadT<coop_mat16x16<f16, B>>(&tile_k[at], ROW4);
        out[c] = coopMultiplyAdd(slope, keys, out[c]);
      }
    }
    workgroupBarrier();
  }
  //!unroll
  for (var c = 0u; c < ACROSS; c += 1u) {
    coopStoreT(out[c], &block[mine], 4u);
    subgroupBarrier();
    //!unroll
    for (var j = 0u; j < 2u; j += 1u) {
      let to = ((b * params.len + own) * HEADS + head) * D4 + c * 4u + half * 2u + j;
      if own < params.len { dq[to] = block[mine + lane * 2u + j] * params.scale; }
    }
    subgroupBarrier();
  }
}
