// Sums of squares, for the norm of all gradients: parts[first + i] = Σ_j g[j]² over j in i * WG * EACH .. of one of them.
// grid: ceil(n / (WG * EACH)) workgroups, folded. One workgroup makes one part.
//!use reduce

struct Params {
  n: u32,
  first: u32,
}

@group(0) @binding(0) var<storage, read>       g:     array<f32>;  // [n]
@group(0) @binding(1) var<storage, read_write> parts: array<f32>;  // [first + ceil(n / (WG * EACH)) at least]

const WG = 256u;
const EACH = 32u;
const LOADS = 8u;   // on their way at a time

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let group = wg.x + wg.y * groups.x;
  let first = group * (WG * EACH);
  if first >= params.n { return; }
  var sum = 0.0;
  for (var j = lid; j < WG * EACH; j += WG * LOADS) {
    var v: array<f32, LOADS>;
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) { v[i] = g[min(first + j + i * WG, params.n - 1u)]; }
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) { sum += select(0.0, v[i] * v[i], first + j + i * WG < params.n); }
  }
  sum = workgroup_sum(sum, lid);
  if lid == 0u { parts[params.first + group] = sum; }
}
