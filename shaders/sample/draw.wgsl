// y ~ q[b, s, :], the draft's token at position t = start[b] + ahead, s = t - base[b] - 1, drawn with the uniform of
// (seed, t, draft): history[b, t] = y, start[b] = t.
// grid: batch workgroups, folded. One workgroup owns one sequence.
//!use pick
//!use random

// variant ---------------------------------------------------------------
const V = 1024u;       // tokens
const SLOTS = 8u;      // distributions kept for a round
const WG = 256u;       // invocations per workgroup, a power of two
const LOADS = 8u;      // tokens that an invocation loads at a time
// -----------------------------------------------------------------------

struct Params {
  batch: u32,
  stride: u32,   // tokens of a row of history
  ahead: u32,    // positions that the run advanced: start + ahead is predicted
}

@group(0) @binding(0) var<storage, read>       q:        array<f32>;  // [batch, SLOTS, V]
@group(0) @binding(1) var<storage, read>       settings: array<u32>;  // [batch, 8]
@group(0) @binding(2) var<storage, read>       base:     array<u32>;  // [batch] start of the target
@group(0) @binding(3) var<storage, read_write> history:  array<u32>;  // [batch, stride]
@group(0) @binding(4) var<storage, read_write> start:    array<u32>;  // [batch] start of the draft

const DRAFT = 0u;      // purpose

var<private> row: u32;

fn weight(c: u32) -> f32 { return q[row + c]; }

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let b = wg.x + wg.y * groups.x;
  if b >= params.batch { return; }
  let t = start[b] + params.ahead;
  let slot = t - base[b] - 1u;
  row = (b * SLOTS + min(slot, SLOTS - 1u)) * V;
  var part = 0.0;
  for (var first = 0u; first < V; first += LOADS * WG) {
    var v: array<f32, LOADS>;
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) { v[i] = weight(min(first + i * WG + lid, V - 1u)); }
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) { part += select(0.0, v[i], first + i * WG + lid < V); }
  }
  let u = random_unit(vec2<u32>(settings[b * 8u + 5u], settings[b * 8u + 6u]), t, DRAFT);
  let token = pick(part, u, lid);
  if lid == 0u && slot < SLOTS && t < params.stride {
    history[b * params.stride + t] = token;
    start[b] = t;
  }
}
