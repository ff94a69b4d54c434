// y[i] = act(x[2i]) * x[2i + 1].
// grid: ceil(n / WG) workgroups, folded. One invocation owns one pair.
//!use unary
//!use lanes

// variant ---------------------------------------------------------------
alias elem = f32;      // storage type: f32 | f16
const WG = 256u;       // invocations per workgroup
// -----------------------------------------------------------------------

struct Params {
  n: u32,   // pairs
}

@group(0) @binding(0) var<storage, read>       x: array<vec2<item>>;  // [n, 2]
@group(0) @binding(1) var<storage, read_write> y: array<item>;        // [n]

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let i = (wg.x + wg.y * groups.x) * WG + lid;
  if i >= params.n { return; }
  y[i] = item(unary(itemf(x[i].x)) * itemf(x[i].y));
}
