// What the gradients of attention need of each query: stats[b, h, i] = (lse[b, h, i], do[b, i, h] · o[b, i, h]).
// grid: ceil(batch * HEADS * len / WG) workgroups, folded. One invocation owns one query of one head.

// variant ---------------------------------------------------------------
const HEADS = 4u;
const D = 16u;         // a multiple of 4
// -----------------------------------------------------------------------

struct Params {
  batch: u32,
  len: u32,
}

@group(0) @binding(0) var<storage, read>       o:     array<vec4<f32>>;  // [batch, len, HEADS, D]
@group(0) @binding(1) var<storage, read>       d_o:   array<vec4<f32>>;  // [batch, len, HEADS, D]
@group(0) @binding(2) var<storage, read>       lse:   array<f32>;        // [batch, HEADS, len]
@group(0) @binding(3) var<storage, read_write> stats: array<vec2<f32>>;  // [batch, HEADS, len, 2]

const WG = 64u;
const D4 = D / 4u;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let at = (wg.x + wg.y * groups.x) * WG + lid;
  if at >= params.batch * params.len * HEADS { return; }
  let row = at / HEADS;
  var sum = 0.0;
  for (var i = 0u; i < D4; i += 1u) { sum += dot(o[at * D4 + i], d_o[at * D4 + i]); }
  let to = (row / params.len * HEADS + at % HEADS) * params.len + row % params.len;
  stats[to] = vec2(lse[to], sum);
}
