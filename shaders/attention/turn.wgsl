// Rotary position embedding of whole sequences: pairs (x, y) of neighbours 2 j, 2 j + 1 of each head become
//   (x c - y s, x s + y c), (c, s) = (1, sign) * rotary[min(row % len, positions - 1), j]
// With sign -1 it is the inverse, and the gradient.
// grid: ceil(rows * heads * D / 4 / WG) workgroups, folded. One invocation owns two pairs.

struct Params {
  rows: u32,
  len: u32,        // rows of a sequence
  heads: u32,
  dim4: u32,       // D / 4
  positions: u32,  // rows of rotary
  sign: f32,       // 1 | -1
}

@group(0) @binding(0) var<storage, read>       x:      array<vec4<f32>>;  // [rows, heads, D]
@group(0) @binding(1) var<storage, read>       rotary: array<vec4<f32>>;  // [positions, D / 2, 2]
@group(0) @binding(2) var<storage, read_write> y:      array<vec4<f32>>;  // [rows, heads, D]

const WG = 64u;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let at = (wg.x + wg.y * groups.x) * WG + lid;
  let row = at / (params.heads * params.dim4);
  if row >= params.rows { return; }
  let position = min(row % params.len, params.positions - 1u);
  let turn = rotary[position * params.dim4 + at % params.dim4] * vec4(1.0, params.sign, 1.0, params.sign);
  let v = x[at];
  y[at] = vec4(
    v.x * turn.x - v.y * turn.y,
    v.x * turn.y + v.y * turn.x,
    v.z * turn.z - v.w * turn.w,
    v.z * turn.w + v.w * turn.z,
  );
}
