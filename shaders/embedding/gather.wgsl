// y[i, k] = table[min(history[start + i], vocabulary - 1), k], of a table that may be in parts: this dispatch writes
// the rows whose ids are in [first, first + n), from a weight [n, K] packed as matmul kernels take it.
// grid: ceil(m * ceil(K / 64) * 8 / WG) workgroups, folded. One invocation owns eight neighbours.
//!use weight

struct Params {
  m: u32,           // rows of y
  k: u32,           // a multiple of 4
  vocabulary: u32,  // ids at and beyond it become the last
  first: u32,       // id of row 0 of w
  n: u32,           // rows of w
}

@group(0) @binding(0) var<storage, read>       history: array<u32>;        // ids by position
@group(0) @binding(1) var<storage, read>       start:   array<u32>;        // [1], position of row 0
@group(0) @binding(2) var<storage, read>       w:       array<weight4>;    // packed [n, K]
@group(0) @binding(3) var<storage, read>       scales:  array<u32>;        // of quantised blocks, f16; else w
@group(0) @binding(4) var<storage, read_write> y:       array<vec4<f32>>;  // [m, K]

const WG = 64u;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let at = (wg.x + wg.y * groups.x) * WG + lid;
  let blocks = (params.k + 63u) / 64u;
  let row = at / (blocks * 8u);
  if row >= params.m { return; }
  let id = min(history[start[0] + row], params.vocabulary - 1u);
  if id < params.first || id - params.first >= params.n { return; }
  let n = id - params.first;
  let lane = n % 16u * 2u + at % 8u / 4u;
  let block = at / 8u % blocks;
  let k = block * 64u + weight_depth(lane, at % 4u);
  if k >= params.k { return; }
  let v = weight(n / 16u * blocks + block, lane, at % 4u);
  let to = (row * params.k + k) / 4u;
  y[to] = v.low;
  if k + 4u < params.k { y[to + 1u] = v.high; }
}
