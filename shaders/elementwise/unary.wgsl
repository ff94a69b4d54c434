// y = op(x), elementwise; x is a view of four dimensions.
// grid: ceil(n / WG) workgroups, folded. One invocation owns one item: LANES neighbours of the last dimension.
//!use unary
//!use lanes

// variant ---------------------------------------------------------------
alias elem = f32;      // storage type: f32 | f16
const WG = 256u;       // invocations per workgroup
// -----------------------------------------------------------------------

struct Params {
  n: u32,                                            // items of y
  d1: u32, d2: u32, d3: u32,                         // y is [n / (d1 d2 d3), d1, d2, d3], in items
  x0: u32, x1: u32, x2: u32, x3: u32, x_offset: u32, // strides and offset of x, in items
}

@group(0) @binding(0) var<storage, read>       x: array<item>;  // [d0, d1, d2, d3] by strides
@group(0) @binding(1) var<storage, read_write> y: array<item>;  // [d0, d1, d2, d3]

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let i = (wg.x + wg.y * groups.x) * WG + lid;
  if i >= params.n { return; }
  let i3 = i % params.d3;
  let i2 = i / params.d3 % params.d2;
  let i1 = i / (params.d3 * params.d2) % params.d1;
  let i0 = i / (params.d3 * params.d2 * params.d1);
  let v = x[params.x_offset + i0 * params.x0 + i1 * params.x1 + i2 * params.x2 + i3 * params.x3];
  y[i] = item(unary(itemf(v)));
}
