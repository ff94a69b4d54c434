// Stochastic gradient descent with momentum, as PyTorch's without dampening; rate and factor of control:
//   v = momentum v + factor g + decay w;  w -= rate v
// A skipped update changes nothing.
// grid: ceil(n / WG) workgroups, folded. One invocation owns one element.

struct Params {
  n: u32,
  momentum: f32,
  decay: f32,
}

@group(0) @binding(0) var<storage, read>       g:       array<f32>;  // [n]
@group(0) @binding(1) var<storage, read>       control: array<f32>;  // [8] as optim/clip has it
@group(0) @binding(2) var<storage, read_write> w:       array<f32>;  // [n]
@group(0) @binding(3) var<storage, read_write> v:       array<f32>;  // [n]

const WG = 256u;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let i = (wg.x + wg.y * groups.x) * WG + lid;
  if i >= params.n || control[1] != 0.0 { return; }
  let weight = w[i];
  let speed = params.momentum * v[i] + control[3] * g[i] + params.decay * weight;
  v[i] = speed;
  w[i] = weight - control[5] * speed;
}
