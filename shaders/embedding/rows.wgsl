// y[i, c] = table[min(ids[i], n - 1), c].
// grid: ceil(rows * width / 4 / WG) workgroups, folded. One invocation owns four columns of a row.

struct Params {
  rows: u32,
  width4: u32,   // width / 4
  n: u32,        // rows of the table
}

@group(0) @binding(0) var<storage, read>       ids:   array<u32>;        // [rows]
@group(0) @binding(1) var<storage, read>       table: array<vec4<f32>>;  // [n, width]
@group(0) @binding(2) var<storage, read_write> y:     array<vec4<f32>>;  // [rows, width]

const WG = 64u;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let at = (wg.x + wg.y * groups.x) * WG + lid;
  let row = at / params.width4;
  if row >= params.rows { return; }
  y[at] = table[min(ids[row], params.n - 1u) * params.width4 + at % params.width4];
}
