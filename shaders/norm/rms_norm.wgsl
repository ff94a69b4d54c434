// y[r, c] = x[first + r, c] / sqrt(mean_c x[first + r, c]² + eps) * g[c].
// grid: rows workgroups, folded. One workgroup owns one row and keeps it in registers.
//!use reduce

// variant ---------------------------------------------------------------
const WG = 64u;        // invocations per workgroup, a power of two
const COLS = 64u;      // a multiple of 4
// -----------------------------------------------------------------------

struct Params {
  rows: u32,
  first: u32,  // row of x that row 0 of y is made of
  eps: f32,
}

@group(0) @binding(0) var<storage, read>       x: array<vec4<f32>>;   // [first + rows, COLS]
@group(0) @binding(1) var<storage, read>       g: array<vec4<f32>>;   // [COLS]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;   // [rows, COLS]

const COLS4 = COLS / 4u;
const EACH = (COLS4 + WG - 1u) / WG;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let row = wg.x + wg.y * groups.x;
  if row >= params.rows { return; }
  let x_at = (params.first + row) * COLS4;
  var v: array<vec4<f32>, EACH>;
  var sum = 0.0;
  //!unroll
  for (var i = 0u; i < EACH; i += 1u) {
    if i * WG + lid < COLS4 { v[i] = x[x_at + i * WG + lid]; }
    sum += dot(v[i], v[i]);
  }
  let scale = inverseSqrt(workgroup_sum(sum, lid) / f32(COLS) + params.eps);
  //!unroll
  for (var i = 0u; i < EACH; i += 1u) {
    let c = i * WG + lid;
    if c < COLS4 { y[row * COLS4 + c] = v[i] * scale * g[c]; }
  }
}
