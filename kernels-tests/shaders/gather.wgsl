// p[b, s, :] = table[x, y, :] for the two tokens x, y before position t = start[b] + ahead + i, s = t - base[b] - 1: a
// model whose next token depends on two. DENSE: s = i.
// grid: ceil(batch × rows / WG) workgroups, folded. One invocation owns one row.

// variant ---------------------------------------------------------------
const V = 8u;          // tokens
const SLOTS = 8u;      // rows of p for each sequence
const DENSE = false;   // rows one after the other
const WG = 64u;        // invocations per workgroup
// -----------------------------------------------------------------------

struct Params {
  batch: u32,
  rows: u32,
  ahead: u32,
  stride: u32,
}

@group(0) @binding(0) var<storage, read>       table:   array<f32>;  // [V, V, V]
@group(0) @binding(1) var<storage, read>       history: array<u32>;  // [batch, stride]
@group(0) @binding(2) var<storage, read>       start:   array<u32>;  // [batch]
@group(0) @binding(3) var<storage, read>       base:    array<u32>;  // [batch]
@group(0) @binding(4) var<storage, read_write> p:       array<f32>;  // [batch, SLOTS, V]

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let row = (wg.x + wg.y * groups.x) * WG + lid;
  if row >= params.batch * params.rows { return; }
  let b = row / params.rows;
  let t = start[b] + params.ahead + row % params.rows;
  let slot = select(t - base[b] - 1u, row % params.rows, DENSE);
  if slot >= SLOTS { return; }
  let at = b * params.stride + t;
  let x = (history[at - 2u] * V + history[at - 1u]) * V;
  for (var c = 0u; c < V; c += 1u) { p[(b * SLOTS + slot) * V + c] = table[x + c]; }
}
