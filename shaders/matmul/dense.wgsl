// Matrix product of dense f32 matrices: y[m, n] = Σ_k A[m, k] * B[k, n], in SLICES of the depth, whose sum it is.
// A is stored [m, k] or, with A_TURNED, [k, m]; B is stored [k, n] or, with B_TURNED, [n, k]. Any sizes.
// grid: workgroups first .. end of SLICES * ceil(m / TILE) * ceil(n / TILE), folded, columns first. One workgroup owns a
// tile of a slice of y, one invocation 4 × 4 of it over one of SPLIT parts of the depth: a smaller tile leaves more parts.

// variant ---------------------------------------------------------------
const TILE = 64u;          // 64 | 32 | 16
const A_TURNED = false;
const B_TURNED = false;
const SLICES = 1u;         // of the depth
// -----------------------------------------------------------------------

struct Params {
  m: u32,
  n: u32,
  k: u32,
  first: u32,
  end: u32,
}

@group(0) @binding(0) var<storage, read>       a: array<f32>;  // [m, k]; A_TURNED: [k, m]
@group(0) @binding(1) var<storage, read>       b: array<f32>;  // [k, n]; B_TURNED: [n, k]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;  // [SLICES, m, n]

const WG = 256u;
const T4 = TILE / 4u;
const BK = 1024u / TILE;       // depth of a tile: each invocation loads four numbers of A and four of B
const SPLIT = WG / (T4 * T4);
const DEPTH = BK / SPLIT;      // depth of a tile that an invocation takes
const ROW = T4 + 1u;           // one more, so that neighbours in depth lie in different banks

var<workgroup> tile_a: array<vec4<f32>, BK * ROW>;  // [BK, TILE]
var<workgroup> tile_b: array<vec4<f32>, BK * ROW>;  // [BK, TILE]
var<workgroup> part: array<vec4<f32>, WG>;

fn a_at(m: u32, k: u32) -> f32 {
  if m >= params.m || k >= params.k { return 0.0; }
  if A_TURNED { return a[k * params.m + m]; }
  return a[m * params.k + k];
}

fn b_at(k: u32, n: u32) -> f32 {
  if n >= params.n || k >= params.k { return 0.0; }
  if B_TURNED { return b[n * params.k + k]; }
  return b[k * params.n + n];
}

// Where in a tile of [BK, T4] an invocation loads: neighbours in memory by neighbours.
fn place(lid: u32, deep: bool) -> vec2<u32> {
  if deep { return vec2(lid % BK, lid / BK); }
  return vec2(lid / T4, lid % T4);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let across = (params.n + TILE - 1u) / TILE;
  let tiles = (params.m + TILE - 1u) / TILE * across;
  let at = params.first + wg.x + wg.y * groups.x;
  if at >= params.end { return; }
  let group = at % tiles;
  let slice = at / tiles;
  let row0 = group / across * TILE;
  let col0 = group % across * TILE;
  let to_a = place(lid, !A_TURNED);
  let to_b = place(lid, B_TURNED);
  let row = row0 + to_a.y * 4u;
  let col = col0 + to_b.y * 4u;
  let split = lid / (T4 * T4);
  let m4 = lid / T4 % T4;
  let n4 = lid % T4;
  var c: array<vec4<f32>, 4>;
  let deep = (params.k + BK * SLICES - 1u) / (BK * SLICES) * BK;   // of a slice
  for (var k0 = slice * deep; k0 < min(params.k, (slice + 1u) * deep); k0 += BK) {
    let k_a = k0 + to_a.x;
    let k_b = k0 + to_b.x;
    tile_a[to_a.x * ROW + to_a.y] =
      vec4(a_at(row, k_a), a_at(row + 1u, k_a), a_at(row + 2u, k_a), a_at(row + 3u, k_a));
    tile_b[to_b.x * ROW + to_b.y] =
      vec4(b_at(k_b, col), b_at(k_b, col + 1u), b_at(k_b, col + 2u), b_at(k_b, col + 3u));
    workgroupBarrier();
    for (var i = 0u; i < DEPTH; i += 1u) {
      let k = split * DEPTH + i;
      let down = tile_a[k * ROW + m4];
      let right = tile_b[k * ROW + n4];
      c[0] += down.x * right;
      c[1] += down.y * right;
      c[2] += down.z * right;
      c[3] += down.w * right;
    }
    workgroupBarrier();
  }
  //!unroll
  for (var i = 0u; i < 4u; i += 1u) {
    var sum = c[i];
    if SPLIT > 1u {
      part[lid] = sum;
      workgroupBarrier();
      if split == 0u {
        for (var s = 1u; s < SPLIT; s += 1u) { sum += part[s * T4 * T4 + lid]; }
      }
      workgroupBarrier();
    }
    let m = row0 + m4 * 4u + i;
    let n = col0 + n4 * 4u;
    if split == 0u && m < params.m {
      let at = (slice * params.m + m) * params.n + n;
      if n < params.n { y[at] = sum.x; }
      if n + 1u < params.n { y[at + 1u] = sum.y; }
      if n + 2u < params.n { y[at + 2u] = sum.z; }
      if n + 3u < params.n { y[at + 3u] = sum.w; }
    }
  }
}
