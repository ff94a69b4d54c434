// dtable[min(ids[i], n - 1), c] += dy[i, c] for each row i, in their order, so that the result is always the same.
// grid: rows * ceil(width / 4 / WG) workgroups, folded. One workgroup owns four columns an invocation of the row of the
// table that ids[i] names, where i is the first row that names it; else it has nothing to write.

struct Params {
  rows: u32,
  width4: u32,   // width / 4
  n: u32,        // rows of the table
}

@group(0) @binding(0) var<storage, read>       ids:    array<u32>;        // [rows]
@group(0) @binding(1) var<storage, read>       dy:     array<vec4<f32>>;  // [rows, width]
@group(0) @binding(2) var<storage, read_write> dtable: array<vec4<f32>>;  // [n, width]

const WG = 64u;

var<workgroup> some: array<u32, WG>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let across = (params.width4 + WG - 1u) / WG;
  let group = wg.x + wg.y * groups.x;
  let row = group / across;
  if row >= params.rows { return; }
  let c = group % across * WG + lid;
  let id = min(ids[row], params.n - 1u);
  var first = true;
  var sum = vec4<f32>();
  for (var row0 = 0u; row0 < params.rows; row0 += WG) {
    workgroupBarrier();
    some[lid] = min(ids[min(row0 + lid, params.rows - 1u)], params.n - 1u);
    workgroupBarrier();
    for (var i = 0u; i < min(WG, params.rows - row0); i += 1u) {
      if some[i] != id { continue; }
      if row0 + i < row { first = false; }
      if first && c < params.width4 { sum += dy[(row0 + i) * params.width4 + c]; }
    }
  }
  if first && c < params.width4 {
    dtable[id * params.width4 + c] += sum;
  }
}
