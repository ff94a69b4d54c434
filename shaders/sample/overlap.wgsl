// overlap[FIRST + i] = Σ_c min(p[i, c], q[i, c]), i < rows: the share of tokens drawn from q_i that p_i accepts.
// grid: rows workgroups, folded. One workgroup owns one row.
//!use reduce

// variant ---------------------------------------------------------------
const V = 1024u;       // tokens
const WG = 64u;        // invocations per workgroup, a power of two
// -----------------------------------------------------------------------

struct Params {
  rows: u32,
  first: u32,
}

@group(0) @binding(0) var<storage, read>       p:       array<f32>;  // [at least rows, V]
@group(0) @binding(1) var<storage, read>       q:       array<f32>;  // [at least rows, V]
@group(0) @binding(2) var<storage, read_write> overlap: array<f32>;  // [at least first + rows]

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let row = wg.x + wg.y * groups.x;
  if row >= params.rows { return; }
  var sum = 0.0;
  for (var c = lid; c < V; c += WG) { sum += min(p[row * V + c], q[row * V + c]); }
  sum = workgroup_sum(sum, lid);
  if lid == 0u { overlap[params.first + row] = sum; }
}
