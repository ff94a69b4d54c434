// Matrix product of few rows on matrix units, for latency: y[m, n] = activation(Σ_k A[m, k] * w[k, n] + bias[n]) + R[m, n].
// grid: ceil(m / 16) * ceil(N / 16) workgroups, folded, columns first. One workgroup owns a 16 × 16 tile of y, each
// of its subgroups a part of the depth. A subgroup asks for all its weights and all its rows at once, and waits for
// memory once; subgroups meet to add their sums. Where N is not a multiple of 16 the last 16 columns overlap those
// before, and are stored once.
//!use load_a
//!use load_r
//!use activation

// variant ---------------------------------------------------------------
alias elem = f16;      // storage type: f16
const N = 64u;         // columns of y, a multiple of 8, at least 16
const K = 64u;         // depth, a multiple of 16
const X_STRIDE = 64u;  // load_a rows: elements from one row of x to the next, a multiple of 4
const IN_H = 1u;       // load_a im2col, depthwise, mean; load_r depthwise: the input map
const IN_W = 1u;
const IN_C = 4u;       // load_a im2col: channels, a multiple of 4
const OUT_H = 1u;      // load_a im2col, gated: the output map
const OUT_W = 1u;
const SIDE = 1u;       // load_a im2col: kernel side, stride, padding
const STRIDE = 1u;
const PAD = 0u;
const R_PARTS = 1u;    // load_r parts: that r comes in
const ROWS = 16u;      // of a tile that there are: 16, or all where there are fewer
const WG = 256u;       // invocations per workgroup, 32 for each part of the depth
// -----------------------------------------------------------------------

alias elem4 = vec4<elem>;

struct Params {
  m: u32,          // rows of y
  x_offset: u32,   // load_a rows: where x starts, in elements, a multiple of 4
  scale: f32,      // load_a mean: one over the positions
}

@group(0) @binding(0) var<storage, read>       x:    array<elem4>;  // what load_a reads
@group(0) @binding(1) var<storage, read>       aux:  array<elem4>;  // load_a gated, depthwise; load_r depthwise; else w
@group(0) @binding(2) var<storage, read>       w:    array<elem4>;  // [K, N]
@group(0) @binding(3) var<storage, read>       bias: array<elem4>;  // [N]
@group(0) @binding(4) var<storage, read>       r:    array<elem4>;  // what load_r reads; else w
@group(0) @binding(5) var<storage, read_write> y:    array<elem4>;  // [m, N]

const SUBGROUPS = WG / 32u;
const STEPS = (K / 16u + SUBGROUPS - 1u) / SUBGROUPS;   // of 16, of the depth, of a subgroup
const DEEP4 = STEPS * SUBGROUPS * 4u;                   // the depth, up to whole steps for all
const A_STRIDE = DEEP4 + 2u;                            // two more than it holds: rows start in different banks
const ITEMS = ROWS * STEPS * 4u;                        // of A, of a subgroup
const TURNS = (ITEMS + 31u) / 32u;

var<workgroup> tile: array<elem4, 16u * A_STRIDE>;      // A [16, K]
var<workgroup> sums: array<vec4<f32>, SUBGROUPS * 64u>; // for each subgroup [16, 16]

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let across = (N + 15u) / 16u;
  let group = wg.x + wg.y * groups.x;
  let row0 = group / across * 16u;
  if row0 >= params.m { return; }
  let first4 = group % across * 4u;
  let col4 = min(first4, N / 4u - 4u);
  let subgroup = lid / 32u;
  let lane = lid % 32u;

  var b: array<coop_mat16x16<f16, B>, STEPS>;
  //!unroll
  for (var i = 0u; i < STEPS; i += 1u) {
    let w_at = min(subgroup * STEPS + i, K / 16u - 1u) * 4u * N + col4;
    b[i] = coopLoadT<coop_mat16x16<f16, B>>(&w[w_at], N / 4u);
  }
  var a: array<vec4<f32>, TURNS>;
  //!unroll
  for (var n = 0u; n < TURNS; n += 1u) {
    let i = min(n * 32u + lane, ITEMS - 1u);
    let k4 = subgroup * STEPS * 4u + i % (STEPS * 4u);
    let v = load_a(min(row0 + i / (STEPS * 4u), params.m - 1u), min(k4, K / 4u - 1u));
    a[n] = select(vec4<f32>(), v, k4 < K / 4u);
  }
  //!unroll
  for (var n = 0u; n < TURNS; n += 1u) {
    let i = min(n * 32u + lane, ITEMS - 1u);
    if n * 32u + lane < ITEMS {
      tile[i / (STEPS * 4u) * A_STRIDE + subgroup * STEPS * 4u + i % (STEPS * 4u)] = elem4(a[n]);
    }
  }
  subgroupBarrier();
  var c = coop_mat16x16<f32, C>();
  //!unroll
  for (var i = 0u; i < STEPS; i += 1u) {
    let a_at = (subgroup * STEPS + i) * 4u;
    let rows = coopLoadT<coop_mat16x16<f16, A>>(&tile[a_at], A_STRIDE);
    c = coopMultiplyAdd(rows, b[i], c);
  }
  let mine = subgroup * 64u;
  coopStoreT(c, &sums[mine], 4u);
  workgroupBarrier();
  for (var i = lid; i < ROWS * 4u; i += WG) {
    let row = row0 + i / 4u;
    let n4 = col4 + i % 4u;
    if row < params.m && n4 >= first4 {
      var sum = vec4<f32>(bias[n4]);
      //!unroll
      for (var s = 0u; s < SUBGROUPS; s += 1u) { sum += sums[s * 64u + i]; }
      y[row * (N / 4u) + n4] = elem4(activation(sum) + load_r(row, n4));
    }
  }
}
