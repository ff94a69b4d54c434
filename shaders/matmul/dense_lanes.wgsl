// Matrix product of dense f32 matrices on the lanes of a processor: y[m, n] = Σ_k A[m, k] * B[k, n].
// A is stored [m, k] or, with A_TURNED, [k, m]; B is stored [k, n] or, with B_TURNED, [n, k].
// grid: ceil(m / ROWS) * ceil(n / (2 * LANES)) workgroups, folded, columns first, of one subgroup each. One workgroup owns
// a tile of y, an invocation two columns of it: of what all need of A, each lane loads a share and hands it on.

// variant ---------------------------------------------------------------
const WG = 8u;             // LANES
const LANES = 8u;          // invocations of a subgroup: 4 | 8 | 16
const ROWS = 16u;          // of a workgroup
const A_TURNED = false;
const B_TURNED = false;
// -----------------------------------------------------------------------

struct Params {
  m: u32,
  n: u32,
  k: u32,
}

@group(0) @binding(0) var<storage, read>       a: array<f32>;  // [m, k]; A_TURNED: [k, m]
@group(0) @binding(1) var<storage, read>       b: array<f32>;  // [k, n]; B_TURNED: [n, k]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;  // [m, n]

const STEP = min(LANES, 8u);   // of the depth, what is handed on at a time

// What is beyond the depth is zero in A; rows and columns beyond are not stored.
fn a_at(m: u32, k: u32) -> f32 {
  let row = min(m, params.m - 1u);
  let at = min(k, params.k - 1u);
  return a[select(row * params.k + at, at * params.m + row, A_TURNED)] * select(0.0, 1.0, k < params.k);
}

fn b_at(k: u32, n: u32) -> f32 {
  let at = min(k, params.k - 1u);
  let col = min(n, params.n - 1u);
  return b[select(at * params.n + col, col * params.k + at, B_TURNED)];
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  // By counting: which lane of a subgroup an invocation is is the adapter's choice.
  let rank = subgroupExclusiveAdd(1u) % STEP;
  let across = (params.n + 2u * LANES - 1u) / (2u * LANES);
  let group = wg.x + wg.y * groups.x;
  let row0 = group / across * ROWS;
  if row0 >= params.m { return; }
  let n = group % across * 2u * LANES + lid;
  var c: array<vec2<f32>, ROWS>;
  for (var k = 0u; k < params.k; k += STEP) {
    var down: array<f32, ROWS>;
    //!unroll
    for (var i = 0u; i < ROWS; i += 1u) { down[i] = a_at(row0 + i, k + rank); }
    //!unroll
    for (var s = 0u; s < STEP; s += 1u) {
      let right = vec2<f32>(b_at(k + s, n), b_at(k + s, n + LANES));
      //!unroll
      for (var i = 0u; i < ROWS; i += 1u) { c[i] += subgroupBroadcast(down[i], s) * right; }
    }
  }
  //!unroll
  for (var i = 0u; i < ROWS; i += 1u) {
    if row0 + i < params.m {
      let at = (row0 + i) * params.n + n;
      if n < params.n { y[at] = c[i].x; }
      if n + LANES < params.n { y[at + LANES] = c[i].y; }
    }
  }
}
