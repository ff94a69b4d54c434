// y[r, c] = exp(s[r, c] - max_c s[r, c]) / Σ_c exp(s[r, c] - max_c s[r, c]), s[r, c] = x[r, c] or, with BIAS,
// x[r, c] + bias[r % bias_rows, c].
// grid: rows workgroups, folded. One workgroup owns one row.
//!use reduce

// variant ---------------------------------------------------------------
alias elem = f32;      // storage type: f32 | f16
const WG = 64u;        // invocations per workgroup, a power of two
const BIAS = false;    // a bias is added first
// -----------------------------------------------------------------------

struct Params {
  rows: u32,
  cols: u32,
  bias_rows: u32,
}

@group(0) @binding(0) var<storage, read>       x:    array<elem>;  // [rows, cols]
@group(0) @binding(1) var<storage, read>       bias: array<elem>;  // [bias_rows, cols]; without BIAS: x
@group(0) @binding(2) var<storage, read_write> y:    array<elem>;  // [rows, cols]

const LOWEST = -3.4028234e+38f;

fn score(row: u32, c: u32) -> f32 {
  let v = f32(x[row * params.cols + c]);
  if BIAS { return v + f32(bias[row % params.bias_rows * params.cols + c]); }
  return v;
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let row = wg.x + wg.y * groups.x;
  if row >= params.rows { return; }
  var most = LOWEST;
  for (var c = lid; c < params.cols; c += WG) { most = max(most, score(row, c)); }
  most = workgroup_max(most, lid);
  var sum = 0.0;
  for (var c = lid; c < params.cols; c += WG) { sum += exp(score(row, c) - most); }
  sum = workgroup_sum(sum, lid);
  for (var c = lid; c < params.cols; c += WG) {
    y[row * params.cols + c] = elem(exp(score(row, c) - most) / sum);
  }
}
