// Gradients of y[i] = act(a) * b, (a, b) = x[i]: dx[i] = (dy[i] b act'(a), dy[i] act(a)).
// grid: ceil(n / WG) workgroups, folded. One invocation owns one pair.
//!use unary
//!use unary_grad

struct Params {
  n: u32,   // pairs
}

@group(0) @binding(0) var<storage, read>       x:  array<vec2<f32>>;  // [n, 2]
@group(0) @binding(1) var<storage, read>       dy: array<f32>;        // [n]
@group(0) @binding(2) var<storage, read_write> dx: array<vec2<f32>>;  // [n, 2]

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
  let pair = x[i];
  dx[i] = dy[i] * vec2(pair.y * unary_grad(pair.x), unary(pair.x));
}
