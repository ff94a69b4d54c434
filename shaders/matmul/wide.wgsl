// Product of many rows with a packed weight:
//   y[m, first + n] = store(scale * Σ_k x[m, k] * w[n, k] + bias[first + n])
// store adds r, applies an activation, or makes one column of a gate and its neighbour (linear_store).
// grid: ceil(m / BM) * ceil(n / BN) workgroups, folded, rows first, so that workgroups that run together share
// their weights. One workgroup owns a tile of y of BM × BN, which its `wide` library sets.
//!use wide
//!use weight
//!use linear_store

// variant ---------------------------------------------------------------
alias elem = f32;      // f16 with wide.coop, else f32
const WG = 256u;
const LANES = 8u;      // wide.lanes: invocations of a subgroup
const BITS = 32u;      // of a weight: 32 | 16 | 8 (q8_0) | 4 (q4_0); what the library reads
const BIAS = false;
// -----------------------------------------------------------------------

alias elem4 = vec4<elem>;

struct Params {
  m: u32,          // rows
  n: u32,          // output features of this weight
  k: u32,          // depth, a multiple of 4
  first: u32,      // the first of these features among the product's, even
  stride: u32,     // of y and r: elements from one row to the next
  scale: f32,
  eps: f32,        // none here
}

@group(0) @binding(0) var<storage, read>       x:      array<vec4<f32>>;  // [m, K]
@group(0) @binding(1) var<storage, read>       w:      array<weight4>;    // packed [n, K]
@group(0) @binding(2) var<storage, read>       scales: array<u32>;        // of quantised blocks, f16; else w
@group(0) @binding(3) var<storage, read>       aux:    array<vec4<f32>>;  // bias [N], then zeros; else x
@group(0) @binding(4) var<storage, read>       r:      array<f32>;        // as y, with linear_store.add; else x
@group(0) @binding(5) var<storage, read_write> y:      array<f32>;        // [m, stride]

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let down = (params.m + BM - 1u) / BM;
  let group = wg.x + wg.y * groups.x;
  if group / down * BN >= params.n { return; }
  wide(group % down * BM, group / down * (BN / 16u), lid);
}

// The sums of features n and n + 1 (n even) of a row.
fn product_store(row: u32, n: u32, v: vec2<f32>) {
  if row >= params.m || n >= params.n { return; }
  var sum = v * params.scale;
  if BIAS {
    let at = params.first + n;
    sum += vec2<f32>(aux[at / 4u][at % 4u], aux[(at + 1u) / 4u][(at + 1u) % 4u]);
  }
  linear_store(row, n, sum);
}
