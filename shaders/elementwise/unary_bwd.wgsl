// Gradients of y[i] = act(x[i]): dx[i] = dy[i] act'(x[i]).
// grid: ceil(n / WG) workgroups, folded. One invocation owns one element.
//!use unary_grad

struct Params {
  n: u32,
}

@group(0) @binding(0) var<storage, read>       x:  array<f32>;  // [n]
@group(0) @binding(1) var<storage, read>       dy: array<f32>;  // [n]
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;  // [n]

alias itemf = f32;
const WG = 256u;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let i = (wg.x + wg.y * groups.x) * WG + lid;
  if i >= params.n { return; }
  dx[i] = dy[i] * unary_grad(x[i]);
}
