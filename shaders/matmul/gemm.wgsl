// Matrix product: y[m, n] = activation(Σ_k A[m, k] * w[k, n] + bias[n]) + R[m, n], A and R by chosen loaders.
// grid: ceil(m / BM) * ceil(N / BN) workgroups, folded, columns first. One workgroup owns a BM × BN tile of y,
// one invocation TM × 4 of it.
//!use load_a
//!use load_r
//!use activation

// variant ---------------------------------------------------------------
alias elem = f32;      // storage type: f32 | f16
const N = 64u;         // columns of y, a multiple of 4
const K = 64u;         // depth, a multiple of 4
const X_STRIDE = 64u;  // load_a rows: elements from one row of x to the next, a multiple of 4
const IN_H = 1u;       // load_a im2col, depthwise, mean; load_r depthwise: the input map
const IN_W = 1u;
const IN_C = 4u;       // load_a im2col: channels, a multiple of 4
const OUT_H = 1u;      // load_a im2col, gated: the output map
const OUT_W = 1u;
const SIDE = 1u;       // load_a im2col: kernel side, stride, padding
const STRIDE = 1u;
const PAD = 0u;
const WG = 256u;       // invocations per workgroup
const BN = 64u;        // columns of a tile, a multiple of 4
const TM = 4u;         // rows of an invocation
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

const BK = 16u;                    // depth of a tile
const ACROSS = BN / 4u;            // invocations along n
const BM = WG / ACROSS * TM;       // rows of a tile
const K4 = BK / 4u;

var<workgroup> tile_a: array<vec4<f32>, BM * K4>;      // [BM, BK]
var<workgroup> tile_w: array<vec4<f32>, BK * ACROSS>;  // [BK, BN]

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let across = (N + BN - 1u) / BN;
  let group = wg.x + wg.y * groups.x;
  let row0 = group / across * BM;
  if row0 >= params.m { return; }
  let col0 = group % across * ACROSS;
  let n4 = lid % ACROSS;
  let row = lid / ACROSS * TM;
  var c: array<vec4<f32>, TM>;
  for (var i = 0u; i < TM; i += 1u) { c[i] = vec4<f32>(); }
  for (var k0 = 0u; k0 < K; k0 += BK) {
    for (var i = lid; i < BM * K4; i += WG) {
      let at = row0 + i / K4;
      let k4 = k0 / 4u + i % K4;
      var v = vec4<f32>();
      if at < params.m && k4 < K / 4u { v = load_a(at, k4); }
      tile_a[i] = v;
    }
    for (var i = lid; i < BK * ACROSS; i += WG) {
      let k = k0 + i / ACROSS;
      let n = col0 + i % ACROSS;
      var v = vec4<f32>();
      if k < K && n < N / 4u { v = vec4<f32>(w[k * (N / 4u) + n]); }
      tile_w[i] = v;
    }
    workgroupBarrier();
    for (var k4 = 0u; k4 < K4; k4 += 1u) {
      let w0 = tile_w[(k4 * 4u) * ACROSS + n4];
      let w1 = tile_w[(k4 * 4u + 1u) * ACROSS + n4];
      let w2 = tile_w[(k4 * 4u + 2u) * ACROSS + n4];
      let w3 = tile_w[(k4 * 4u + 3u) * ACROSS + n4];
      for (var i = 0u; i < TM; i += 1u) {
        let a = tile_a[(row + i) * K4 + k4];
        c[i] += a.x * w0 + a.y * w1 + a.z * w2 + a.w * w3;
      }
    }
    workgroupBarrier();
  }
  let n = col0 + n4;
  if n >= N / 4u { return; }
  for (var i = 0u; i < TM; i += 1u) {
    let at = row0 + row + i;
    if at < params.m {
      y[at * (N / 4u) + n] = elem4(activation(c[i] + vec4<f32>(bias[n])) + load_r(at, n));
    }
  }
}
