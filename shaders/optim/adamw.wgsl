// AdamW, decoupled weight decay (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", arXiv 1711.05101), in
// the order of PyTorch. With t updates, this one too, and rate and factor of control:
//   w -= rate decay w;  m = beta1 m + (1 - beta1) factor g;  v = beta2 v + (1 - beta2) (factor g)²
//   w -= rate m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
// A skipped update changes nothing.
// grid: ceil(n / WG) workgroups, folded. One invocation owns one element.

struct Params {
  n: u32,
  beta1: f32,
  rest1: f32,       // 1 - beta1
  log_beta1: f32,   // its natural logarithm
  beta2: f32,
  rest2: f32,
  log_beta2: f32,
  eps: f32,
  decay: f32,
}

@group(0) @binding(0) var<storage, read>       g:       array<f32>;  // [n]
@group(0) @binding(1) var<storage, read>       control: array<f32>;  // [8] as optim/clip has it
@group(0) @binding(2) var<storage, read_write> w:       array<f32>;  // [n]
@group(0) @binding(3) var<storage, read_write> m:       array<f32>;  // [n]
@group(0) @binding(4) var<storage, read_write> v:       array<f32>;  // [n]

const WG = 256u;

// 1 - exp(x) for x <= 0, to about its last bit near 0 too.
fn one_less_exp(x: f32) -> f32 {
  let series = 1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * (1.0 + x / 5.0 * (1.0 + x / 6.0 * (1.0 + x / 7.0)))));
  return select(1.0 - exp(x), -x * series, x > -0.5);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let i = (wg.x + wg.y * groups.x) * WG + lid;
  if i >= params.n || control[1] != 0.0 { return; }
  let t = control[0];
  let rate = control[5];
  let d = control[3] * g[i];
  let mean = params.beta1 * m[i] + params.rest1 * d;
  let square = params.beta2 * v[i] + params.rest2 * d * d;
  m[i] = mean;
  v[i] = square;
  let size = sqrt(square / one_less_exp(t * params.log_beta2)) + params.eps;
  let weight = w[i] - rate * params.decay * w[i];
  w[i] = weight - rate * (mean / one_less_exp(t * params.log_beta1)) / size;
}
