// y[b, m, n] = scale * Σ_k a[b, m, k] * w[b, k, n], for every pair b of two batch dimensions.
// grid: b * ceil(m / 16) * ceil(n / 16) workgroups, folded, columns first. One workgroup owns a 16 × 16 tile of y,
// one invocation an element of it.

// variant ---------------------------------------------------------------
alias elem = f32;      // storage type: f32 | f16
// -----------------------------------------------------------------------

struct Params {
  m: u32, n: u32, k: u32,
  b: u32, b1: u32,                                           // pairs; the size of the inner batch dimension
  a0: u32, a1: u32, a_row: u32, a_column: u32, a_offset: u32, // strides and offset of a, in elements
  w0: u32, w1: u32, w_row: u32, w_column: u32, w_offset: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read>       a: array<elem>;  // [b / b1, b1, m, k] by strides
@group(0) @binding(1) var<storage, read>       w: array<elem>;  // [b / b1, b1, k, n] by strides
@group(0) @binding(2) var<storage, read_write> y: array<elem>;  // [b / b1, b1, m, n]

const TILE = 16u;

var<workgroup> tile_a: array<f32, TILE * TILE>;  // [m, k]
var<workgroup> tile_w: array<f32, TILE * TILE>;  // [k, n]

@compute @workgroup_size(TILE * TILE)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let across = (params.n + TILE - 1u) / TILE;
  let down = (params.m + TILE - 1u) / TILE;
  let group = wg.x + wg.y * groups.x;
  if group >= params.b * down * across { return; }
  let batch = group / (down * across);
  let i = lid / TILE;
  let j = lid % TILE;
  let row = group / across % down * TILE + i;
  let column = group % across * TILE + j;
  let a_at = params.a_offset + batch / params.b1 * params.a0 + batch % params.b1 * params.a1 + row * params.a_row;
  let w_at = params.w_offset + batch / params.b1 * params.w0 + batch % params.b1 * params.w1 + column * params.w_column;
  var sum = 0.0;
  for (var k0 = 0u; k0 < params.k; k0 += TILE) {
    var va = 0.0;
    var vw = 0.0;
    if row < params.m && k0 + j < params.k { va = f32(a[a_at + (k0 + j) * params.a_column]); }
    if column < params.n && k0 + i < params.k { vw = f32(w[w_at + (k0 + i) * params.w_row]); }
    tile_a[lid] = va;
    tile_w[lid] = vw;
    workgroupBarrier();
    for (var k = 0u; k < TILE; k += 1u) { sum += tile_a[i * TILE + k] * tile_w[k * TILE + j]; }
    workgroupBarrier();
  }
  if row < params.m && column < params.n {
    y[(batch * params.m + row) * params.n + column] = elem(params.scale * sum);
  }
}
