// Gradients of causal attention by its keys and values, as causal_bwd_dkv has them, on matrix units: what is multiplied
// is rounded to f16, and so are weights and slopes. Scores stand the other way round here, keys down.
// grid: ceil(len / BQ) * batch * KV_HEADS workgroups, folded, first keys before the last, as most see them. One
// workgroup owns BQ keys of one head, a subgroup of 32 sixteen of them, and takes BK queries at a time.

// variant ---------------------------------------------------------------
alias elem = f16;
const WG = 128u;         // invocations, a multiple of 32
const HEADS = 4u;
const KV_HEADS = 2u;
const D = 16u;           // a multiple of 16
const BK = 32u;          // queries at a time, a multiple of 16
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
@group(0) @binding(5) var<storage, read_write> d_kv:  array<vec4<f32>>;  // [2, batch, len, KV_HEADS, D]: dk, dv

const BQ = WG / 2u;
const D4 = D / 4u;
const ROW4 = D4 + 2u;          // two more than it holds: rows start in different banks
const S_ROW4 = BK / 4u + 2u;
const ACROSS = D / 16u;        // matrices of a row of blocks
const BLOCKS = BK / 16u;
const GROUP = HEADS / KV_HEADS;

var<workgroup> rows_k: array<elem4, BQ * ROW4>;
var<workgroup> rows_v: array<elem4, BQ * ROW4>;
var<workgroup> tile_q: array<elem4, BK * ROW4>;
var<workgroup> tile_do: array<elem4, BK * ROW4>;
var<workgroup> weights: array<elem4, BQ * S_ROW4>;
var<workgroup> slopes: array<elem4, BQ * S_ROW4>;
var<workgroup> block: array<vec4<f32>, WG * 4u>;     // for each subgroup 2 × [16, 16]
var<workgroup> tile_lse: array<vec4<f32>, BK / 4u>;
var<workgroup> tile_sum: array<vec4<f32>, BK / 4u>;  // do · o

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let tiles = (params.len + BQ - 1u) / BQ;
  let all_heads = params.batch * KV_HEADS;
  let group = wg.x + wg.y * groups.x;
  if group >= tiles * all_heads { return; }
  let b = group % all_heads / KV_HEADS;
  let kv = group % KV_HEADS;
  let key0 = group / all_heads * BQ;
  let last = params.len - 1u;
  let down = lid / 32u * 16u;      // this subgroup's first key
  let mine = lid / 32u * 128u;     // its part of block
  let other = mine + 64u;
  let lane = lid % 32u;
  let half = lane % 2u;
  let own = key0 + down + lane / 2u;   // this invocation's key: it owns 8 of each 16 columns
  for (var at = lid; at < BQ * D4; at += WG) {
    let from_at = ((b * params.len + min(key0 + at / D4, last)) * KV_HEADS + kv) * D4 + at % D4;
    rows_k[at / D4 * ROW4 + at % D4] = elem4(k[from_at]);
    rows_v[at / D4 * ROW4 + at % D4] = elem4(v[from_at]);
  }
  workgroupBarrier();
  var keys: array<coop_mat16x16<f16, A>, ACROSS>;
  var values: array<coop_mat16x16<f16, A>, ACROSS>;
  var out_k: array<coop_mat16x16<f32, C>, ACROSS>;
  var out_v: array<coop_mat16x16<f32, C>, ACROSS>;
  //!unroll
  for (var c = 0u; c < ACROSS; c += 1u) {
    let at = down * ROW4 + c * 4u;
    keys[c] = coopLoadT<coop_mat16x16<f16, A>>(&rows_k[at], ROW4);
    values[c] = coopLoadT<coop_mat16x16<f16, A>>(&rows_v[at], ROW4);
    out_k[c] = coop_mat16x16<f32, C>();
    out_v[c] = coop_mat16x16<f32, C>();
  }
  for (var head = kv * GROUP; head < (kv + 1u) * GROUP; head += 1u) {
    for (var row0 = key0 / BK * BK; row0 < params.len; row0 += BK) {
      for (var at = lid; at < BK * D4; at += WG) {
        let from_at = ((b * params.len + min(row0 + at / D4, last)) * HEADS + head) * D4 + at % D4;
        tile_q[at / D4 * ROW4 + at % D4] = elem4(q[from_at]);
        tile_do[at / D4 * ROW4 + at % D4] = elem4(d_o[from_at]);
      }
      if lid < BK {
        let stat = stats[(b * HEADS + head) * params.len + min(row0 + lid, last)];
        tile_lse[lid / 4u][lid % 4u] = stat.x;
        tile_sum[lid / 4u][lid % 4u] = stat.y;
      }
      workgroupBarrier();
      //!unroll
      for (var i = 0u; i < BLOCKS; i += 1u) {
        var score = coop_mat16x16<f32, C>();
        var change = coop_mat16x16<f32, C>();
        //!unroll
        for (var c = 0u; c < ACROSS; c += 1u) {
          let at = i * 16u * ROW4 + c * 4u;
          let queries = coopLoad<coop_mat16x16<f16, B>>(&tile_q[at], ROW4);
          score = coopMultiplyAdd(keys[c], queries, score);
          let changes = coopLoad<coop_mat16x16<f16, B>>(&tile_do[at], ROW4);
          change = coopMultiplyAdd(values[c], changes, change);
        }
        coopStoreT(score, &block[mine], 4u);
        coopStoreT(change, &block[other], 4u);
        subgroupBarrier();
        //!unroll
        for (var j = 0u; j < 2u; j += 1u) {
          let first = i * 4u + half * 2u + j;
          let rows = row0 + first * 4u + vec4<u32>(0u, 1u, 2u, 3u);
          let seen = (rows >= vec4<u32>(own)) & (rows <= vec4<u32>(last));
          let weight = exp(block[mine + lane * 2u + j] * params.scale - tile_lse[first]);
          let slope = weight * (block[other + lane * 2u + j] - tile_sum[first]);
          let to = (down + lane / 2u) * S_ROW4 + first;
          weights[to] = elem4(select(vec4<f32>(), weight, seen));
          slopes[to] = elem4(select(vec4<f32>(), slope, seen));
        }
        subgroupBarrier();
      }
      //!unroll
      for (var i = 0u; i < BLOCKS; i += 1u) {
        let from_at = down * S_ROW4 + i * 4u;
        let weight = coopLoadT<coop_mat16x16<f16, A>>(&weights[from_at], S_ROW4);
        let slope = coopLoadT<coop_mat16x16<f16, A>>(&slopes[from_at], S_ROW4);
        //!unroll
        for (var c = 0u; c < ACROSS; c += 1u) {
          let at = i * 16u * ROW4 + c * 4u;
          let changes = coopLoadT<coop_mat16x16<f16, B>>(&tile_do[at], ROW4);
          out_v[c] = coopMultiplyAdd(weight, changes, out_v[c]);
          let queries = coopLoadT<coop_mat16x16<f16, B>>(&tile_q[at], ROW4);
          out_k[c] = coopMultiplyAdd(slope, queries, out_k[c]);
        }
      }
      workgroupBarrier();
    }
  }
  //!unroll
  for (var c = 0u; c < ACROSS; c += 1u) {
    coopStoreT(out_k[c], &block[mine], 4u);
    coopStoreT(out_v[c], &block[other], 4u);
    subgroupBarrier();
    //!unroll
    for (var j = 0u; j < 2u; j += 1u) {
      let to = ((b * params.len + own) * KV_HEADS + kv) * D4 + c * 4u + half * 2u + j;
      if own < params.len {
        d_kv[to] = block[mine + lane * 2u + j] * params.scale;
        d_kv[to + params.batch * params.len * KV_HEADS * D4] = block[other + lane * 2u + j];
      }
    }
    subgroupBarrier();
  }
}
