// y[c] = scale Σ_r x[r, c], with ACCUMULATE added to what y holds.
// grid: ceil(cols / ACROSS) workgroups, folded. One workgroup owns ACROSS columns, and its invocations share the rows.

// variant ---------------------------------------------------------------
const ACROSS = 16u;        // a power of two that divides WG
const ACCUMULATE = false;
// -----------------------------------------------------------------------

struct Params {
  rows: u32,
  cols: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read>       x: array<f32>;  // [rows, cols]
@group(0) @binding(1) var<storage, read_write> y: array<f32>;  // [cols]

const WG = 256u;
const DOWN = WG / ACROSS;

var<workgroup> sums: array<f32, WG>;  // [DOWN, ACROSS]

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let first = (wg.x + wg.y * groups.x) * ACROSS;
  if first >= params.cols { return; }
  let c = first + lid % ACROSS;
  var sum = 0.0;
  if c < params.cols {
    for (var r = lid / ACROSS; r < params.rows; r += DOWN) { sum += x[r * params.cols + c]; }
  }
  sums[lid] = sum;
  workgroupBarrier();
  if lid < ACROSS && c < params.cols {
    for (var i = 1u; i < DOWN; i += 1u) { sum += sums[i * ACROSS + lid]; }
    sum *= params.scale;
    if ACCUMULATE { sum += y[c]; }
    y[c] = sum;
  }
}
