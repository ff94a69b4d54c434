// y = a op b, elementwise over four dimensions; a stride of 0 repeats an operand along its dimension.
// grid: ceil(n / WG) workgroups, folded. One invocation owns one element.
//!use binary

// variant ---------------------------------------------------------------
alias elem = f32;      // storage type: f32 | f16
const WG = 256u;       // invocations per workgroup
// -----------------------------------------------------------------------

struct Params {
  n: u32,                                           // elements of y
  d1: u32, d2: u32, d3: u32,                        // y is [n / (d1 d2 d3), d1, d2, d3]
  a0: u32, a1: u32, a2: u32, a3: u32, a_offset: u32, // strides and offset of a, in elements
  b0: u32, b1: u32, b2: u32, b3: u32, b_offset: u32,
}

@group(0) @binding(0) var<storage, read>       a: array<elem>;  // [d0, d1, d2, d3] by strides
@group(0) @binding(1) var<storage, read>       b: array<elem>;  // [d0, d1, d2, d3] by strides
@group(0) @binding(2) var<storage, read_write> y: array<elem>;  // [d0, d1, d2, d3]

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let i = (wg.x + wg.y * groups.x) * WG + lid;
  if i >= params.n { return; }
  let i3 = i % params.d3;
  let i2 = i / params.d3 % params.d2;
  let i1 = i / (params.d3 * params.d2) % params.d1;
  let i0 = i / (params.d3 * params.d2 * params.d1);
  let va = f32(a[params.a_offset + i0 * params.a0 + i1 * params.a1 + i2 * params.a2 + i3 * params.a3]);
  let vb = f32(b[params.b_offset + i0 * params.b0 + i1 * params.b1 + i2 * params.b2 + i3 * params.b3]);
  y[i] = elem(binary(va, vb));
}
