// Matrix product of many rows on matrix units: y[m, n] = activation(Σ_k A[m, k] * w[k, n] + bias[n]) + R[m, n].
// grid: ceil(m / 128) * ceil(N / BN) workgroups, folded, columns first. One workgroup owns a 128 × BN tile of y,
// one of its eight subgroups of 32 a 32 × BN/2 part of it. A and w pass through workgroup memory.
//!use load_a
//!use load_r
//!use activation

// variant ---------------------------------------------------------------
alias elem = f16;      // storage type: f16
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
const BN = 64u;        // columns of a tile, a multiple of 32
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

const WG = 256u;
const BM = 128u;                   // rows of a tile
const BK = 32u;                    // depth of a tile
const BK4 = BK / 4u;
const BN4 = BN / 4u;
const A_STRIDE = BK4 + 2u;         // two more than it holds: rows start in different banks
const W_STRIDE = BN4 + 2u;
const ACROSS = BN / 32u;           // matrices of a subgroup along n; it has 2 along m

var<workgroup> tile_a: array<elem4, BM * A_STRIDE>;  // [BM, BK]
var<workgroup> tile_w: array<elem4, BK * W_STRIDE>;  // [BK, BN]
var<workgroup> block: array<vec4<f32>, 512>;         // for each subgroup [16, 16]

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
  let col0 = group % across * BN4;
  let subgroup = lid / 32u;
  let lane = lid % 32u;
  let down = subgroup % 4u * 32u;
  let right = subgroup / 4u * ACROSS;
  var c: array<coop_mat16x16<f32, C>, 2u * ACROSS>;
  //!unroll
  for (var i = 0u; i < 2u * ACROSS; i += 1u) { c[i] = coop_mat16x16<f32, C>(); }
  for (var k0 = 0u; k0 < K; k0 += BK) {
    for (var i = lid; i < BM * BK4; i += WG) {
      let at = row0 + i / BK4;
      let k4 = k0 / 4u + i % BK4;
      var v = vec4<f32>();
      if at < params.m && k4 < K / 4u { v = load_a(at, k4); }
      tile_a[i / BK4 * A_STRIDE + i % BK4] = elem4(v);
    }
    for (var i = lid; i < BK * BN4; i += WG) {
      let k = k0 + i / BN4;
      let n = col0 + i % BN4;
      var v = elem4();
      if k < K && n < N / 4u { v = w[k * (N / 4u) + n]; }
      tile_w[i / BN4 * W_STRIDE + i % BN4] = v;
    }
    workgroupBarrier();
    for (var k = 0u; k < BK; k += 16u) {
      let a_at = down * A_STRIDE + k / 4u;
      let below = a_at + 16u * A_STRIDE;
      let a0 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[a_at], A_STRIDE);
      let a1 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[below], A_STRIDE);
      //!unroll
      for (var i = 0u; i < ACROSS; i += 1u) {
        let w_at = k * W_STRIDE + (right + i) * 4u;
        let b = coopLoadT<coop_mat16x16<f16, B>>(&tile_w[w_at], W_STRIDE);
        c[2u * i] = coopMultiplyAdd(a0, b, c[2u * i]);
        c[2u * i + 1u] = coopMultiplyAdd(a1, b, c[2u * i + 1u]);
      }
    }
    workgroupBarrier();
  }
  let mine = subgroup * 64u;
  //!unroll
  for (var i = 0u; i < 2u * ACROSS; i += 1u) {
    coopStoreT(c[i], &block[mine], 4u);
    workgroupBarrier();
    let at = row0 + down + i % 2u * 16u + lane / 2u;
    let first = col0 + (right + i / 2u) * 4u + lane % 2u * 2u;
    for (var j = 0u; j < 2u; j += 1u) {
      let n = first + j;
      if at < params.m && n < N / 4u {
        let v = block[mine + lane * 2u + j];
        y[at * (N / 4u) + n] = elem4(activation(v + vec4<f32>(bias[n])) + load_r(at, n));
      }
    }
    workgroupBarrier();
  }
}
