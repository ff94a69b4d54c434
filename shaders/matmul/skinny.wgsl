// Product of up to 16 rows with a packed weight, which is read once:
//   y[m, first + n] = store(f[m] * Σ_k x[m, k] * g[k] * w[n, k] + bias[first + n])
// With NORM, g is the gain of an RMS norm and f[m] = scale / sqrt(Σ_k x[m, k]² / K + eps); without, g = 1 and
// f = scale. store adds r, applies an activation, or makes one column of a gate and its neighbour (linear_store).
// grid: ceil(n / (16 * NB)) workgroups, folded. One workgroup owns 16 * NB output features of all rows; its teams of
// 32 invocations share the depth. The result of a row does not depend on m.
//!use skinny
//!use weight
//!use linear_store

// variant ---------------------------------------------------------------
alias elem = f32;      // f16 with skinny.coop, else f32
const WG = 256u;
const ROWS = 2u;       // rows that are read: at least m; even
const NB = 1u;         // blocks of 16 output features of a workgroup; 1 with skinny.scalar, WG / 8 with skinny.lanes
const LANES = 8u;      // skinny.lanes: invocations of a subgroup
const DEPTH = 1u;      // skinny.coop: blocks of the depth on their way at a time
const BITS = 32u;      // of a weight: 32 | 16 | 8 (q8_0) | 4 (q4_0); what the library reads
const NORM = false;
const BIAS = false;
// -----------------------------------------------------------------------

alias elem4 = vec4<elem>;

struct Params {
  m: u32,          // rows, at most 16
  n: u32,          // output features of this weight
  k: u32,          // depth, a multiple of 4
  first: u32,      // the first of these features among the product's, even
  stride: u32,     // of y and r: elements from one row to the next
  scale: f32,
  eps: f32,
}

@group(0) @binding(0) var<storage, read>       x:      array<vec4<f32>>;  // [m, K]
@group(0) @binding(1) var<storage, read>       w:      array<weight4>;    // packed [n, K]
@group(0) @binding(2) var<storage, read>       scales: array<u32>;        // of quantised blocks, f16; else w
@group(0) @binding(3) var<storage, read>       aux:    array<vec4<f32>>;  // gain [K] with NORM, then bias [N], then zeros; else x
@group(0) @binding(4) var<storage, read>       r:      array<f32>;        // as y, with linear_store.add; else x
@group(0) @binding(5) var<storage, read_write> y:      array<f32>;        // [m, stride]

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let group = wg.x + wg.y * groups.x;
  if group * 16u * NB >= params.n { return; }
  skinny(group, lid);
}

// The sums of features n and n + 1 (n even) of a row.
fn product_store(row: u32, n: u32, v: vec2<f32>) {
  var sum = v;
  if BIAS {
    let at = select(0u, params.k, NORM) + params.first + n;
    sum += vec2<f32>(aux[at / 4u][at % 4u], aux[(at + 1u) / 4u][(at + 1u) % 4u]);
  }
  linear_store(row, n, sum);
}
