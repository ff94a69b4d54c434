// y[i] = value.
// grid: ceil(n / WG) workgroups, folded. One invocation owns one element.

struct Params {
  n: u32,
  value: f32,
}

@group(0) @binding(0) var<storage, read_write> y: array<f32>;  // [n]

const WG = 256u;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let i = (wg.x + wg.y * groups.x) * WG + lid;
  if i < params.n { y[i] = params.value; }
}
