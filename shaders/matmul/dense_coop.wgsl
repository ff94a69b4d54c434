// Matrix product of dense f32 matrices on matrix units: y[m, n] = Σ_k A[m, k] * B[k, n], A and B rounded to f16, sums
// in f32; in SLICES of the depth, whose sum it is.
// A is stored [m, k] or, with A_TURNED, [k, m]; B is stored [k, n] or, with B_TURNED, [n, k]; rows as they are stored,
// and those of y, are a multiple of 4 long.
// grid: workgroups first .. end of SLICES * ceil(m / BM) * ceil(n / BN), folded, along the side with fewer tiles first, so
// that workgroups that run together share the larger operand. One owns a BM × BN tile of a slice of y, one of its
// subgroups of 32 a part of BM / TEAMS_M × BN / TEAMS_N. BK of depth at a time pass through workgroup memory, in the order in which they are
// stored, while the next are on their way to registers.

// variant ---------------------------------------------------------------
alias elem = f16;
const BM = 128u;             // rows of a tile
const BN = 128u;             // columns of a tile
const BK = 32u;              // depth at a time, a multiple of 16
const TEAMS_M = 4u;          // subgroups along m; BM / TEAMS_M is a multiple of 16
const TEAMS_N = 2u;          // subgroups along n; BN / TEAMS_N is a multiple of 16
const A_TURNED = false;
const B_TURNED = false;
const SLICES = 1u;           // of the depth
// -----------------------------------------------------------------------

alias elem4 = vec4<elem>;

struct Params {
  m: u32,
  n: u32,
  k: u32,
  first: u32,
  end: u32,
}

@group(0) @binding(0) var<storage, read>       a: array<vec4<f32>>;  // [m, k]; A_TURNED: [k, m]
@group(0) @binding(1) var<storage, read>       b: array<vec4<f32>>;  // [k, n]; B_TURNED: [n, k]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;  // [SLICES, m, n]

const TEAMS = TEAMS_M * TEAMS_N;
const WG = TEAMS * 32u;
const DOWN = BM / TEAMS_M / 16u;               // matrices of a subgroup along m
const ACROSS = BN / TEAMS_N / 16u;             // and along n
const A_WIDE4 = select(BK, BM, A_TURNED) / 4u; // elem4 of a stored row of a tile of A
const B_WIDE4 = select(BN, BK, B_TURNED) / 4u;
const A_ROW4 = A_WIDE4 + 2u;                   // two more than it holds: rows start in different banks
const B_ROW4 = B_WIDE4 + 2u;
const A_LOADS = BM * BK / 4u / WG;             // of each invocation
const B_LOADS = BN * BK / 4u / WG;

var<workgroup> tile_a: array<elem4, BM * BK / A_WIDE4 / 4u * A_ROW4>;  // [BM, BK]; A_TURNED: [BK, BM]
var<workgroup> tile_b: array<elem4, BN * BK / B_WIDE4 / 4u * B_ROW4>;  // [BK, BN]; B_TURNED: [BN, BK]
var<workgroup> sums: array<vec4<f32>, TEAMS * 64u>;                    // for each subgroup [16, 16]

// The i-th four numbers of A's tile from row0 and depth k0 on; any of A beyond it.
fn a_at(i: u32, row0: u32, k0: u32) -> vec4<f32> {
  let down = i / A_WIDE4;
  let right = i % A_WIDE4;
  if A_TURNED { return a[min(k0 + down, params.k - 1u) * (params.m / 4u) + min(row0 / 4u + right, params.m / 4u - 1u)]; }
  return a[min(row0 + down, params.m - 1u) * (params.k / 4u) + min(k0 / 4u + right, params.k / 4u - 1u)];
}

fn b_at(i: u32, col0: u32, k0: u32) -> vec4<f32> {
  let down = i / B_WIDE4;
  let right = i % B_WIDE4;
  if B_TURNED { return b[min(col0 + down, params.n - 1u) * (params.k / 4u) + min(k0 / 4u + right, params.k / 4u - 1u)]; }
  return b[min(k0 + down, params.k - 1u) * (params.n / 4u) + min(col0 / 4u + right, params.n / 4u - 1u)];
}

// The depth of the i-th four numbers of a tile.
fn depth(i: u32, wide4: u32, deep: bool) -> u32 { return select(i / wide4, i % wide4 * 4u, deep); }

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let tiles_m = (params.m + BM - 1u) / BM;
  let tiles_n = (params.n + BN - 1u) / BN;
  let at = params.first + wg.x + wg.y * groups.x;
  if at >= params.end { return; }
  let group = at % (tiles_m * tiles_n);
  let slice = at / (tiles_m * tiles_n);
  let deep = (params.k + BK * SLICES - 1u) / (BK * SLICES) * BK;   // of a slice
  let rows_first = tiles_m < tiles_n;
  let row0 = select(group / tiles_n, group % tiles_m, rows_first) * BM;
  let col0 = select(group % tiles_n, group / tiles_m, rows_first) * BN;
  let team = lid / 32u;
  let lane = lid % 32u;
  let down = team / TEAMS_N * (DOWN * 16u);
  let right = team % TEAMS_N * (ACROSS * 16u);
  var c: array<coop_mat16x16<f32, C>, DOWN * ACROSS>;
  //!unroll
  for (var i = 0u; i < DOWN * ACROSS; i += 1u) { c[i] = coop_mat16x16<f32, C>(); }
  var from_a: array<vec4<f32>, A_LOADS>;
  var from_b: array<vec4<f32>, B_LOADS>;
  //!unroll
  for (var i = 0u; i < A_LOADS; i += 1u) { from_a[i] = a_at(lid + i * WG, row0, slice * deep); }
  //!unroll
  for (var i = 0u; i < B_LOADS; i += 1u) { from_b[i] = b_at(lid + i * WG, col0, slice * deep); }
  for (var k0 = slice * deep; k0 < min(params.k, (slice + 1u) * deep); k0 += BK) {
    //!unroll
    for (var i = 0u; i < A_LOADS; i += 1u) {
      let at = lid + i * WG;
      let inside = k0 + depth(at, A_WIDE4, !A_TURNED) < params.k;
      tile_a[at / A_WIDE4 * A_ROW4 + at % A_WIDE4] = elem4(select(vec4<f32>(), from_a[i], inside));
    }
    //!unroll
    for (var i = 0u; i < B_LOADS; i += 1u) {
      let at = lid + i * WG;
      let inside = k0 + depth(at, B_WIDE4, B_TURNED) < params.k;
      tile_b[at / B_WIDE4 * B_ROW4 + at % B_WIDE4] = elem4(select(vec4<f32>(), from_b[i], inside));
    }
    workgroupBarrier();
    //!unroll
    for (var i = 0u; i < A_LOADS; i += 1u) { from_a[i] = a_at(lid + i * WG, row0, k0 + BK); }
    //!unroll
    for (var i = 0u; i < B_LOADS; i += 1u) { from_b[i] = b_at(lid + i * WG, col0, k0 + BK); }
    for (var k = 0u; k < BK; k += 16u) {
      var left: array<coop_mat16x16<f16, A>, DOWN>;
      //!unroll
      for (var i = 0u; i < DOWN; i += 1u) {
        if A_TURNED {
          let at = k * A_ROW4 + (down + i * 16u) / 4u;
          left[i] = coopLoad<coop_mat16x16<f16, A>>(&tile_a[at], A_ROW4);
        } else {
          let at = (down + i * 16u) * A_ROW4 + k / 4u;
          left[i] = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[at], A_ROW4);
        }
      }
      //!unroll
      for (var j = 0u; j < ACROSS; j += 1u) {
        var over: coop_mat16x16<f16, B>;
        if B_TURNED {
          let at = (right + j * 16u) * B_ROW4 + k / 4u;
          over = coopLoad<coop_mat16x16<f16, B>>(&tile_b[at], B_ROW4);
        } else {
          let at = k * B_ROW4 + (right + j * 16u) / 4u;
          over = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[at], B_ROW4);
        }
        //!unroll
        for (var i = 0u; i < DOWN; i += 1u) { c[i * ACROSS + j] = coopMultiplyAdd(left[i], over, c[i * ACROSS + j]); }
      }
    }
    workgroupBarrier();
  }
  let mine = team * 64u;
  //!unroll
  for (var i = 0u; i < DOWN * ACROSS; i += 1u) {
    coopStoreT(c[i], &sums[mine], 4u);
    subgroupBarrier();
    for (var j = lane; j < 64u; j += 32u) {
      let row = row0 + down + i / ACROSS * 16u + j / 4u;
      let col4 = (col0 + right + i % ACROSS * 16u) / 4u + j % 4u;
      if row < params.m && col4 < params.n / 4u {
        y[(slice * params.m + row) * (params.n / 4u) + col4] = sums[mine + j];
      }
    }
    subgroupBarrier();
  }
}
