// attention/decode on matrix units: a few queries over a cache, a chunk of keys at a time, for attention/combine to
// join. With query i of head h at position p = start + i, over the keys k of a chunk that it sees,
//   s[k] = scale * q[i, h] · key[k] + bias[h, clamp(k - p, -reach, reach) + reach]      the latter with BIAS
//   stats = (max_k s[k], Σ_k exp(s[k] - max));  partial = Σ_k exp(s[k] - max) value[k]
// CAUSAL: it sees k <= p and, with a window, k > p - window. Else start is the number of keys, it sees all of them,
// and p = i. Position k has slot k % capacity.
// Chunk c holds keys CHUNK * c .., wherever the queries are; the first that query 0 sees into comes first in partial.
// A query is one row of matrices of 16, whatever the other rows are: its result depends on its position alone. A
// query that sees into no key of a chunk leaves its part unwritten.
// grid: KV_HEADS * slots workgroups, folded, heads first. One workgroup owns every slots-th chunk of one head of the
// cache, each of which it holds in registers while 16 at a time of that head's queries pass; keys and values take turns
// in one place of workgroup memory, as little of which lets more workgroups run beside each other. What a subgroup sums
// it alone reads.

// variant ---------------------------------------------------------------
alias elem = f16;      // storage type of the cache: f16
const HEADS = 4u;
const KV_HEADS = 2u;
const D = 16u;         // a multiple of 16
const CHUNK = 64u;     // keys of a chunk: 32 | 64
const CAUSAL = true;
const BIAS = false;
// -----------------------------------------------------------------------

alias elem4 = vec4<elem>;

struct Params {
  m: u32,         // queries of a head
  capacity: u32,
  window: u32,    // keys that a query sees, 0 for all
  reach: u32,     // distance at which the bias ends
  chunks: u32,    // in partial
  slots: u32,     // workgroups of a head, at most chunks
  scale: f32,
}

@group(0) @binding(0) var<storage, read>       q:       array<vec4<f32>>;  // [m, HEADS, D]
@group(0) @binding(1) var<storage, read>       cache:   array<elem4>;      // [2, KV_HEADS, capacity, D]
@group(0) @binding(2) var<storage, read>       start:   array<u32>;        // [1]
@group(0) @binding(3) var<storage, read>       bias:    array<f32>;        // [HEADS, 2 reach + 1]; without BIAS: q
@group(0) @binding(4) var<storage, read_write> partial: array<vec4<f32>>;  // [chunks, m, HEADS, D]
@group(0) @binding(5) var<storage, read_write> stats:   array<vec2<f32>>;  // [chunks, m, HEADS]

const LOWEST = -3.4028234e+38f;
const WG = 128u;
const SUBGROUPS = WG / 32u;
const GROUP = HEADS / KV_HEADS;
const D4 = D / 4u;
const ROW4 = D4 + 2u;          // two more than it holds: rows start in different banks
const P_ROW4 = CHUNK / 4u + 2u;
const Q_AT = CHUNK * ROW4;
const P_AT = Q_AT + 16u * ROW4;
const BLOCKS = CHUNK / 16u;    // of 16 keys, at most SUBGROUPS
const ACROSS = D / 16u;        // blocks of 16 columns
const ROUNDS = (ACROSS + SUBGROUPS - 1u) / SUBGROUPS;
const LOADS = CHUNK * D4 / WG;
const EACH = CHUNK / 32u;      // vec4 of a query's scores that an invocation owns

// Keys, later values [CHUNK, D]; queries [16, D]; weights [16, CHUNK].
var<workgroup> tile: array<elem4, P_AT + 16u * P_ROW4>;
var<workgroup> block: array<vec4<f32>, SUBGROUPS * 64u>;  // for each subgroup [16, 16]

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

// Of query i with keys key .. key + 4: the bias added, and those that are not in `seen` left out.
fn masked(s: vec4<f32>, head: u32, i: u32, key: u32, seen: vec2<u32>) -> vec4<f32> {
  var v = s;
  if BIAS {
    let reach = i32(params.reach);
    let p = select(i, start[0] + i, CAUSAL);
    let far = clamp(vec4<i32>(i32(key) - i32(p)) + vec4<i32>(0, 1, 2, 3), vec4<i32>(-reach), vec4<i32>(reach));
    let at = vec4<u32>(far + reach) + head * (2u * params.reach + 1u);
    v += vec4<f32>(bias[at.x], bias[at.y], bias[at.z], bias[at.w]);
  }
  let keys = key + vec4<u32>(0u, 1u, 2u, 3u);
  return select(vec4<f32>(LOWEST), v, (keys >= vec4<u32>(seen.x)) & (keys < vec4<u32>(seen.y)));
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let group = wg.x + wg.y * groups.x;
  let kv = group % KV_HEADS;
  let begin = sees(0u).x;
  let end = sees(params.m - 1u).y;
  let seen_chunks = min((end + CHUNK - 1u) / CHUNK - begin / CHUNK, params.chunks);
  let end_chunk = select(seen_chunks, 0u, group >= KV_HEADS * params.slots);
  let subgroup = lid / 32u;
  let lane = lid % 32u;
  let mine = subgroup * 64u;
  let all = params.m * GROUP;

  // No return: what a storage buffer holds may not decide whether matrices are multiplied after it.
  for (var chunk = group / KV_HEADS; chunk < end_chunk; chunk += params.slots) {
    let key0 = (begin / CHUNK + chunk) * CHUNK;
    var k: array<elem4, LOADS>;
    var v: array<elem4, LOADS>;
    //!unroll
    for (var j = 0u; j < LOADS; j += 1u) {
      let key = key0 + (j * WG + lid) / D4;
      let at = (kv * params.capacity + slot_of(key)) * D4 + (j * WG + lid) % D4;
      k[j] = cache[at];
      v[j] = cache[at + KV_HEADS * params.capacity * D4];
    }
    for (var first = 0u; first < all; first += 16u) {
      for (var at = lid; at < 16u * D4; at += WG) {
        let row = min(first + at / D4, all - 1u);
        let from_at = (row / GROUP * HEADS + kv * GROUP + row % GROUP) * D4 + at % D4;
        tile[Q_AT + at / D4 * ROW4 + at % D4] = elem4(q[from_at] * params.scale);
      }
      //!unroll
      for (var j = 0u; j < LOADS; j += 1u) { tile[(j * WG + lid) / D4 * ROW4 + (j * WG + lid) % D4] = k[j]; }
      workgroupBarrier();
      let keys = min(subgroup, BLOCKS - 1u) * 16u;
      var c0 = coop_mat16x16<f32, C>();
      //!unroll
      for (var c = 0u; c < ACROSS; c += 1u) {
        let q_at = Q_AT + c * 4u;
        let k_at = keys * ROW4 + c * 4u;
        let a = coopLoadT<coop_mat16x16<f16, A>>(&tile[q_at], ROW4);
        let b = coopLoad<coop_mat16x16<f16, B>>(&tile[k_at], ROW4);
        c0 = coopMultiplyAdd(a, b, c0);
      }
      coopStoreT(c0, &block[mine], 4u);
      workgroupBarrier();

      // Eight invocations share a query's scores.
      let r = lid / 8u;
      let row = min(first + r, all - 1u);
      let i = row / GROUP;
      let head = kv * GROUP + row % GROUP;
      let seen = sees(i);
      let to = (chunk * params.m + i) * HEADS + head;
      let written = first + r < all && key0 + CHUNK > seen.x && key0 < seen.y;
      var s: array<vec4<f32>, EACH>;
      var top = LOWEST;
      //!unroll
      for (var j = 0u; j < EACH; j += 1u) {
        let key4 = lid % 8u * EACH + j;
        s[j] = masked(block[key4 / 4u * 64u + r * 4u + key4 % 4u], head, i, key0 + key4 * 4u, seen);
        top = max(top, max(max(s[j].x, s[j].y), max(s[j].z, s[j].w)));
      }
      top = max(top, subgroupShuffleXor(top, 1u));
      top = max(top, subgroupShuffleXor(top, 2u));
      top = max(top, subgroupShuffleXor(top, 4u));
      var sum = 0.0;
      //!unroll
      for (var j = 0u; j < EACH; j += 1u) {
        let e = elem4(select(exp(s[j] - top), vec4<f32>(), s[j] == vec4<f32>(LOWEST)));
        let wide = vec4<f32>(e);
        sum += (wide.x + wide.y) + (wide.z + wide.w);
        tile[P_AT + r * P_ROW4 + lid % 8u * EACH + j] = e;
      }
      sum += subgroupShuffleXor(sum, 1u);
      sum += subgroupShuffleXor(sum, 2u);
      sum += subgroupShuffleXor(sum, 4u);
      if written && lid % 8u == 0u { stats[to] = vec2(top, sum); }
      //!unroll
      for (var j = 0u; j < LOADS; j += 1u) {
        let key = key0 + (j * WG + lid) / D4;
        let live = key >= begin && key < end;  // what no one wrote may be no number
        tile[(j * WG + lid) / D4 * ROW4 + (j * WG + lid) % D4] = select(elem4(), v[j], live);
      }
      workgroupBarrier();

      let o_row = min(first + lane / 2u, all - 1u);
      let o_seen = sees(o_row / GROUP);
      let o_live = first + lane / 2u < all && key0 + CHUNK > o_seen.x && key0 < o_seen.y;
      let o_to = (chunk * params.m + o_row / GROUP) * HEADS + kv * GROUP + o_row % GROUP;
      //!unroll
      for (var round = 0u; round < ROUNDS; round += 1u) {
        let column = round * SUBGROUPS + subgroup;
        var c1 = coop_mat16x16<f32, C>();
        //!unroll
        for (var b = 0u; b < BLOCKS; b += 1u) {
          let p_at = P_AT + b * 4u;
          let v_at = b * 16u * ROW4 + min(column, ACROSS - 1u) * 4u;
          let p = coopLoadT<coop_mat16x16<f16, A>>(&tile[p_at], P_ROW4);
          let values = coopLoadT<coop_mat16x16<f16, B>>(&tile[v_at], ROW4);
          c1 = coopMultiplyAdd(p, values, c1);
        }
        coopStoreT(c1, &block[mine], 4u);
        subgroupBarrier();
        if o_live && column < ACROSS {
          let at = o_to * D4 + column * 4u + lane % 2u * 2u;
          partial[at] = block[mine + lane * 2u];
          partial[at + 1u] = block[mine + lane * 2u + 1u];
        }
        subgroupBarrier();
      }
      workgroupBarrier();
    }
  }
}
