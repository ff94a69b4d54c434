// AdamW, decoupled weight decay (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", arXiv 1711.05101), in
// the order of PyTorch. With t updates, this one too, and rate and factor of control:
//   w -= rate decay w;  m = beta1 m + (1 - beta1) factor g;  v = beta2 v + (1 - beta2) (factor g)²
//   w -= rate m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
// A skipped update changes nothing.
// grid: ceil(n / (WG * EACH)) workgroups, folded. One invocation owns EACH elements, whose loads are on their way together.

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
const EACH = 4u;

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
  let first = (wg.x + wg.y * groups.x) * (WG * EACH) + lid;
  if first >= params.n || control[1] != 0.0 { return; }
  let t = control[0];
  let factor = control[3];
  let rate = control[5];
  let rest_of_mean = one_less_exp(t * params.log_beta1);
  let rest_of_square = one_less_exp(t * params.log_beta2);
  var d: array<f32, EACH>;
  var weights: array<f32, EACH>;
  var means: array<f32, EACH>;
  var squares: array<f32, EACH>;
  //!unroll
  for (var j = 0u; j < EACH; j += 1u) {
    let i = min(first + j * WG, params.n - 1u);
    d[j] = factor * g[i];
    weights[j] = w[i];
    means[j] = m[i];
    squares[j] = v[i];
  }
  //!unroll
  for (var j = 0u; j < EACH; j += 1u) {
    let i = first + j * WG;
    let mean = params.beta1 * means[j] + params.rest1 * d[j];
    let square = params.beta2 * squares[j] + params.rest2 * d[j] * d[j];
    let size = sqrt(square / rest_of_square) + params.eps;
    let weight = weights[j] - rate * params.decay * weights[j];
    if i < params.n {
      m[i] = mean;
      v[i] = square;
      w[i] = weight - rate * (mean / rest_of_mean) / size;
    }
  }
}
