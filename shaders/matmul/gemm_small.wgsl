// Matrix product of few rows, for latency: y[m, n] = activation(Σ_k A[m, k] * w[k, n] + bias[n]) + R[m, n].
// grid: ceil(m / 16) * ceil(N / 16) workgroups, folded, columns first. One workgroup owns a 16 × 16 tile of y
// and splits the depth among its invocations, so that every load is in flight at once: no loop waits on memory
// more than K / (4 * SPLIT) times.
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
const SPLIT = 16u;     // parts of the depth, a power of two; a workgroup has 16 * SPLIT invocations
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

const WG = 16u * SPLIT;

var<workgroup> part: array<vec4<f32>, SPLIT * 64u>;  // [SPLIT, 16 rows, 4]

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
  let col0 = group % across * 4u;
  // Neighbouring invocations take neighbouring columns, then rows, so that loads of w and of x coalesce.
  let n4 = min(col0 + lid % 4u, N / 4u - 1u);
  let row = lid / 4u % 4u * 4u;
  let split = lid / 16u;
  let last = params.m - 1u;
  let r0 = min(row0 + row, last);
  let r1 = min(row0 + row + 1u, last);
  let r2 = min(row0 + row + 2u, last);
  let r3 = min(row0 + row + 3u, last);
  let rows = params.m - row0;
  var c0 = vec4<f32>();
  var c1 = vec4<f32>();
  var c2 = vec4<f32>();
  var c3 = vec4<f32>();
  for (var k4 = split; k4 < K / 4u; k4 += SPLIT) {
    let at = k4 * N + n4;
    let w0 = vec4<f32>(w[at]);
    let w1 = vec4<f32>(w[at + N / 4u]);
    let w2 = vec4<f32>(w[at + N / 2u]);
    let w3 = vec4<f32>(w[at + N / 2u + N / 4u]);
    if row < rows {
      let a0 = load_a(r0, k4);
      let a1 = load_a(r1, k4);
      let a2 = load_a(r2, k4);
      let a3 = load_a(r3, k4);
      c0 += a0.x * w0 + a0.y * w1 + a0.z * w2 + a0.w * w3;
      c1 += a1.x * w0 + a1.y * w1 + a1.z * w2 + a1.w * w3;
      c2 += a2.x * w0 + a2.y * w1 + a2.z * w2 + a2.w * w3;
      c3 += a3.x * w0 + a3.y * w1 + a3.z * w2 + a3.w * w3;
    }
  }
  let to = split * 64u + row * 4u + lid % 4u;
  part[to] = c0;
  part[to + 4u] = c1;
  part[to + 8u] = c2;
  part[to + 12u] = c3;
  for (var half = SPLIT / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    for (var i = lid; i < half * 64u; i += WG) {
      part[i] += part[i + half * 64u];
    }
  }
  workgroupBarrier();
  let n = col0 + lid % 4u;
  let at = row0 + lid / 4u;
  if lid < 64u && n < N / 4u && at < params.m {
    y[at * (N / 4u) + n] = elem4(activation(part[lid] + vec4<f32>(bias[n])) + load_r(at, n));
  }
}
