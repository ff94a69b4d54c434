// Proposals y_i = history[b, n + i], n = start[b] + 1, i < draft_len = k: y_i is accepted while u_i q_i(y_i) < p_i(y_i).
// With a of them accepted, the next token is drawn from p_k where a = k, else from max(0, p_a - q_a), or from p_a where
// that is 0 everywhere. ONE_HOT: each q_i is 1 at y_i. Uniforms of (seed, n + i, accept) and (seed, n + a, next).
//
// history[b, n + a] = the token, start[b] = n + a, draft_start[b] = n + a - 1, fault[b] = 0, and
// outcome[b] = a, a + 1, n + a + 1, the fault, the a + 1 new tokens, and 2^32 - 1 for each that there is not.
// grid: batch workgroups, folded. One workgroup owns one sequence and reads one row of p and of q, and one number of
// each of the others.
//!use pick
//!use random

// variant ---------------------------------------------------------------
const V = 1024u;       // tokens
const SLOTS = 8u;      // distributions of the draft kept for a round: draft_len at most
const ONE_HOT = false; // proposals without distributions
const WG = 256u;       // invocations per workgroup, a power of two
const LOADS = 8u;      // tokens that an invocation loads at a time
// -----------------------------------------------------------------------

struct Params {
  batch: u32,
  stride: u32,     // tokens of a row of history
  draft_len: u32,
}

@group(0) @binding(0) var<storage, read>       p:           array<f32>;  // [batch, draft_len + 1, V]
@group(0) @binding(1) var<storage, read>       q:           array<f32>;  // [batch, SLOTS, V]; ONE_HOT: p
@group(0) @binding(2) var<storage, read>       settings:    array<u32>;  // [batch, 8]
@group(0) @binding(3) var<storage, read_write> history:     array<u32>;  // [batch, stride]
@group(0) @binding(4) var<storage, read_write> start:       array<u32>;  // [batch] start of the target
@group(0) @binding(5) var<storage, read_write> draft_start: array<u32>;  // [batch]
@group(0) @binding(6) var<storage, read_write> fault:       array<u32>;  // [batch]
@group(0) @binding(7) var<storage, read_write> outcome:     array<u32>;  // [batch, 4 + SLOTS + 1]

const ACCEPT = 1u;     // purposes
const NEXT = 2u;
const NONE = 0xffffffffu;

var<workgroup> accepts: array<u32, SLOTS + 1u>;
var<private> p_row: u32;
var<private> q_row: u32;
var<private> proposed: u32;   // the token rejected
var<private> residual: bool;

fn q_of(c: u32) -> f32 {
  if ONE_HOT { return select(0.0, 1.0, c == proposed); }
  return q[q_row + c];
}

fn weight(c: u32) -> f32 {
  let target_p = p[p_row + c];
  if residual { return max(0.0, target_p - q_of(c)); }
  return target_p;
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let b = wg.x + wg.y * groups.x;
  if b >= params.batch { return; }
  let k = min(params.draft_len, SLOTS);
  let seed = vec2<u32>(settings[b * 8u + 5u], settings[b * 8u + 6u]);
  let n = start[b] + 1u;
  let known = b * params.stride;
  for (var i = lid; i < k; i += WG) {
    let y = min(history[known + n + i], V - 1u);
    var q_y = 1.0;
    if !ONE_HOT { q_y = q[(b * SLOTS + i) * V + y]; }
    let u = random_unit(seed, n + i, ACCEPT);
    accepts[i] = select(0u, 1u, u * q_y < p[(b * (params.draft_len + 1u) + i) * V + y]);
  }
  workgroupBarrier();
  var a = 0u;
  while a < k && accepts[min(a, SLOTS)] == 1u { a += 1u; }
  p_row = (b * (params.draft_len + 1u) + a) * V;
  q_row = (b * SLOTS + min(a, SLOTS - 1u)) * V;
  proposed = history[known + n + min(a, max(k, 1u) - 1u)];
  residual = a < k;
  var part = 0.0;
  var whole = 0.0;     // as `part`, of p alone
  for (var first = 0u; first < V; first += LOADS * WG) {
    var v: array<f32, LOADS>;
    var w: array<f32, LOADS>;
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) {
      let c = min(first + i * WG + lid, V - 1u);
      v[i] = weight(c);
      w[i] = p[p_row + c];
    }
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) {
      part += select(0.0, v[i], first + i * WG + lid < V);
      whole += select(0.0, w[i], first + i * WG + lid < V);
    }
  }
  pick_scan(part, lid);
  // Above 0 and finite, by its bits: some compilers take no number for a NaN.
  let total = bitcast<u32>(pick_sums[WG - 1u]);
  if total == 0u || total >= 0x7f800000u {
    residual = false;
    part = whole;
  }
  let token = pick(part, random_unit(seed, n + a, NEXT), lid);
  let out = b * (5u + SLOTS);
  for (var i = lid; i <= SLOTS; i += WG) {
    var new_token = NONE;
    if i < a { new_token = history[known + n + i]; }
    if i == a { new_token = token; }
    outcome[out + 4u + i] = new_token;
  }
  if lid == 0u {
    outcome[out] = a;
    outcome[out + 1u] = a + 1u;
    outcome[out + 2u] = n + a + 1u;
    outcome[out + 3u] = fault[b];
    fault[b] = 0u;
    start[b] = n + a;
    draft_start[b] = n + a - 1u;
    if n + a < params.stride { history[known + n + a] = token; }
  }
}
