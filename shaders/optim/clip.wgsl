// Whether an update is made, and by how much its gradients are scaled. Gradients are computed times 1 / part. With the
// norm of all of them |g| = part sqrt(Σ_i parts[i]):
//   factor = part min(1, most / (|g| + 1e-6)), part where most is 0
//   skipped = |g|² is no finite number, or |g| is above a limit that is not 0; then no kernel of the update changes anything
// control: [0] updates made, this one too if it is; [1] skipped; [2] updates skipped so far; [3] factor; [4] |g|;
// [5] learning rate and [6] limit, left as they are.
// grid: one workgroup.
//!use reduce

struct Params {
  n: u32,      // parts
  most: f32,   // norm of a gradient
  part: f32,   // a power of two
}

@group(0) @binding(0) var<storage, read>       parts:   array<f32>;  // [n]
@group(0) @binding(1) var<storage, read_write> control: array<f32>;  // [8]

const WG = 256u;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lid: u32) {
  var sum = 0.0;
  for (var i = lid; i < params.n; i += WG) { sum += parts[i]; }
  sum = workgroup_sum(sum, lid);
  if lid != 0u { return; }
  // By its bits: some compilers take no number for a NaN or an infinity.
  let finite = (bitcast<u32>(sum) & 0x7f800000u) != 0x7f800000u;
  let norm = sqrt(sum) * params.part;
  let limit = control[6];
  let fine = finite && !(limit > 0.0 && norm > limit);
  control[0] += select(0.0, 1.0, fine);
  control[1] = select(1.0, 0.0, fine);
  control[2] += select(1.0, 0.0, fine);
  control[3] = params.part * select(1.0, min(1.0, params.most / (norm + 1e-6)), params.most > 0.0 && finite);
  control[4] = norm;
}
