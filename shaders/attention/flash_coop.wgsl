// Attention of many queries over a cache on matrix units, with no matrix of scores in storage. With query i of head h
// at position p = start + i, over the keys k that it sees,
//   s[k] = scale * q[i, h] · key[k] + bias[h, clamp(k - p, -reach, reach) + reach]      the latter with BIAS
//   o[i, h] = Σ_k exp(s[k] - max) value[k] / Σ_k exp(s[k] - max), 0 where it sees none
// CAUSAL: it sees k <= p and, with a window, k > p - window. Else start is the number of keys, it sees all of them,
// and p = i. Position k has slot k % capacity.
// grid: ceil(m / BQ) * HEADS workgroups, folded, heads first, last queries before the first, as they see most. One
// workgroup owns BQ queries of one head, a subgroup of 32 sixteen of them; keys and values come through workgroup
// memory, BK at a time. A matrix has no element access, so its blocks of 16 × 16 pass through a subgroup's own
// memory: two halves in turn, and one barrier a block is enough.

// variant ---------------------------------------------------------------
alias elem = f16;      // storage type of the cache: f16
const WG = 128u;       // invocations per workgroup, a multiple of 32
const HEADS = 4u;
const KV_HEADS = 2u;
const D = 16u;         // a multiple of 16
const BK = 64u;        // keys at a time, a multiple of 16, at least WG / 4, or WG / 8 where D is a multiple of 32
const CAUSAL = true;
const BIAS = false;
const KEEP = false;    // queries have workgroup memory of their own: not needed once they are loaded as matrices
// -----------------------------------------------------------------------

alias elem4 = vec4<elem>;

struct Params {
  m: u32,         // queries of a head
  capacity: u32,
  window: u32,    // keys that a query sees, 0 for all
  reach: u32,     // distance at which the bias ends
  scale: f32,
}

@group(0) @binding(0) var<storage, read>       q:     array<vec4<f32>>;  // [m, HEADS, D]
@group(0) @binding(1) var<storage, read>       cache: array<elem4>;      // [2, KV_HEADS, capacity, D]
@group(0) @binding(2) var<storage, read>       start: array<u32>;        // [1]
@group(0) @binding(3) var<storage, read>       bias:  array<f32>;        // [HEADS, 2 reach + 1]; without BIAS: q
@group(0) @binding(4) var<storage, read_write> o:     array<vec4<f32>>;  // [m, HEADS, D]

const LOWEST = -3.4028234e+38f;
const BQ = WG / 2u;
const D4 = D / 4u;
const ROW4 = D4 + 2u;         // two more than it holds: rows start in different banks
const P_ROW4 = BK / 4u + 2u;
const V_AT = max(BK * ROW4, BQ * P_ROW4);
const Q_AT = select(0u, V_AT + BK * ROW4, KEEP);
const Q_PARTS = select(1u, 2u, BQ * ROW4 > V_AT + BK * ROW4);  // of the columns of queries, loaded in turn
const Q_ROW4 = D4 / Q_PARTS + 2u;
const Q_ACROSS = ACROSS / Q_PARTS;
const BLOCKS = BK / 16u;      // of 16 keys
const ACROSS = D / 16u;       // blocks of 16 columns
const AHEAD = 4u;             // loads on their way at a time

// Queries [BQ, D]; then keys [BK, D], later weights [BQ, BK]; values [BK, D].
var<workgroup> tile: array<elem4, V_AT + BK * ROW4 + select(0u, Q_PARTS * BQ * Q_ROW4, KEEP)>;
var<workgroup> block: array<vec4<f32>, WG * 4u>;      // for each subgroup 2 × [16, 16]

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

// exp(s - top), 0 for what was left out.
fn weights(s: vec4<f32>, top: f32) -> elem4 {
  return elem4(select(exp(s - top), vec4<f32>(), s == vec4<f32>(LOWEST)));
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let tiles = (params.m + BQ - 1u) / BQ;
  let group = wg.x + wg.y * groups.x;
  if group >= tiles * HEADS { return; }
  let head = group % HEADS;
  let kv = head / (HEADS / KV_HEADS);
  let row0 = (tiles - 1u - group / HEADS) * BQ;
  let begin = sees(row0).x;
  let end = sees(min(row0 + BQ, params.m) - 1u).y;
  let down = lid / 32u * 16u;           // this subgroup's first query
  let mine = lid / 32u * 128u;          // its part of block
  let lane = lid % 32u;
  let half = lane % 2u;
  let i = row0 + down + lane / 2u;      // this invocation's query: it owns 8 of each 16 columns
  let seen = sees(i);

  var queries: array<coop_mat16x16<f16, A>, ACROSS>;
  //!unroll
  for (var part = 0u; part < Q_PARTS; part += 1u) {
    let part_at = Q_AT + select(0u, part * BQ * Q_ROW4, KEEP);
    for (var at = lid; at < BQ * D4 / Q_PARTS; at += WG) {
      let row = at / (D4 / Q_PARTS);
      let column = at % (D4 / Q_PARTS);
      let from_at = (min(row0 + row, params.m - 1u) * HEADS + head) * D4 + part * (D4 / Q_PARTS) + column;
      tile[part_at + row * Q_ROW4 + column] = elem4(q[from_at] * params.scale);
    }
    workgroupBarrier();
    //!unroll
    for (var c = 0u; c < Q_ACROSS; c += 1u) {
      let q_at = part_at + down * Q_ROW4 + c * 4u;
      queries[part * Q_ACROSS + c] = coopLoadT<coop_mat16x16<f16, A>>(&tile[q_at], Q_ROW4);
    }
    workgroupBarrier();
  }

  var top = LOWEST;
  var sum = 0.0;
  var out: array<vec4<f32>, ACROSS * 2u>;
  for (var key0 = begin / BK * BK; key0 < end; key0 += BK) {
    for (var first = lid; first < BK * D4; first += WG * AHEAD) {
      var k: array<elem4, AHEAD>;
      var v: array<elem4, AHEAD>;
      //!unroll
      for (var j = 0u; j < AHEAD; j += 1u) {
        let at = min(first + j * WG, BK * D4 - 1u);
        let key = key0 + at / D4;
        let live = key >= begin && key < end;  // what no one wrote may be no number
        let from_at = (kv * params.capacity + slot_of(key)) * D4 + at % D4;
        k[j] = select(elem4(), cache[from_at], live);
        v[j] = select(elem4(), cache[from_at + KV_HEADS * params.capacity * D4], live);
      }
      //!unroll
      for (var j = 0u; j < AHEAD; j += 1u) {
        let at = first + j * WG;
        if at < BK * D4 {
          tile[at / D4 * ROW4 + at % D4] = k[j];
          tile[V_AT + at / D4 * ROW4 + at % D4] = v[j];
        }
      }
    }
    workgroupBarrier();
    var s: array<vec4<f32>, BLOCKS * 2u>;
    var most = top;
    //!unroll
    for (var b = 0u; b < BLOCKS; b += 1u) {
      var c0 = coop_mat16x16<f32, C>();
      //!unroll
      for (var c = 0u; c < ACROSS; c += 1u) {
        let k_at = b * 16u * ROW4 + c * 4u;
        let k = coopLoad<coop_mat16x16<f16, B>>(&tile[k_at], ROW4);
        c0 = coopMultiplyAdd(queries[c], k, c0);
      }
      let to = mine + b % 2u * 64u;
      coopStoreT(c0, &block[to], 4u);
      workgroupBarrier();
      let key = key0 + b * 16u + half * 8u;
      s[b * 2u] = masked(block[to + lane * 2u], head, i, key, seen);
      s[b * 2u + 1u] = masked(block[to + lane * 2u + 1u], head, i, key + 4u, seen);
      let both = max(s[b * 2u], s[b * 2u + 1u]);
      most = max(most, max(max(both.x, both.y), max(both.z, both.w)));
    }
    most = max(most, subgroupShuffleXor(most, 1u));
    let old = exp(top - most);
    top = most;
    sum *= old;
    //!unroll
    for (var b = 0u; b < BLOCKS; b += 1u) {
      let e0 = weights(s[b * 2u], most);
      let e1 = weights(s[b * 2u + 1u], most);
      sum += dot(vec4<f32>(e0) + vec4<f32>(e1), vec4<f32>(1.0));
      let to = (down + lane / 2u) * P_ROW4 + b * 4u + half * 2u;
      tile[to] = e0;
      tile[to + 1u] = e1;
    }
    workgroupBarrier();
    var p: array<coop_mat16x16<f16, A>, BLOCKS>;
    //!unroll
    for (var b = 0u; b < BLOCKS; b += 1u) {
      let p_at = down * P_ROW4 + b * 4u;
      p[b] = coopLoadT<coop_mat16x16<f16, A>>(&tile[p_at], P_ROW4);
    }
    //!unroll
    for (var c = 0u; c < ACROSS; c += 1u) {
      var c0 = coop_mat16x16<f32, C>();
      //!unroll
      for (var b = 0u; b < BLOCKS; b += 1u) {
        let v_at = V_AT + b * 16u * ROW4 + c * 4u;
        let v = coopLoadT<coop_mat16x16<f16, B>>(&tile[v_at], ROW4);
        c0 = coopMultiplyAdd(p[b], v, c0);
      }
      let to = mine + c % 2u * 64u;
      coopStoreT(c0, &block[to], 4u);
      workgroupBarrier();
      out[c * 2u] = out[c * 2u] * old + block[to + lane * 2u];
      out[c * 2u + 1u] = out[c * 2u + 1u] * old + block[to + lane * 2u + 1u];
    }
  }
  sum += subgroupShuffleXor(sum, 1u);
  let scale = select(0.0, 1.0 / sum, end > begin);
  //!unroll
  for (var c = 0u; c < ACROSS * 2u; c += 1u) {
    let to = (i * HEADS + head) * D4 + c / 2u * 4u + half * 2u + c % 2u;
    if i < params.m { o[to] = out[c] * scale; }
  }
}
