// y[b, i, j, c] = bias[c] + Σ_{r, s} weight[r, s, c] * x[b, i * STRIDE + r - PAD, j * STRIDE + s - PAD, c], x being
// 0 outside its map; with RELU, max(y, 0).
// grid: ceil(n / WG) workgroups, folded. One invocation owns one item of y: LANES neighbouring channels.
//!use lanes

// variant ---------------------------------------------------------------
alias elem = f32;      // storage type: f32 | f16
const SIDE = 3u;       // kernel side, stride, padding
const STRIDE = 1u;
const PAD = 1u;
const RELU = false;
const WG = 128u;       // invocations per workgroup
// -----------------------------------------------------------------------

struct Params {
  n: u32,                                            // items of y
  h: u32, w: u32,                                    // the map of x
  oh: u32, ow: u32, c: u32,                          // the map of y; items of channels
  x0: u32, x1: u32, x2: u32, x3: u32, x_offset: u32, // strides and offset of x, in items
}

@group(0) @binding(0) var<storage, read>       x:      array<item>;  // [B, h, w, c] by strides
@group(0) @binding(1) var<storage, read>       weight: array<item>;  // [SIDE, SIDE, c]
@group(0) @binding(2) var<storage, read>       bias:   array<item>;  // [c]
@group(0) @binding(3) var<storage, read_write> y:      array<item>;  // [B, oh, ow, c]

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let i = (wg.x + wg.y * groups.x) * WG + lid;
  if i >= params.n { return; }
  let c = i % params.c;
  let column = i / params.c % params.ow;
  let row = i / (params.c * params.ow) % params.oh;
  let image = i / (params.c * params.ow * params.oh);
  let at = params.x_offset + image * params.x0 + c * params.x3;
  var sum = itemf(bias[c]);
  for (var r = 0u; r < SIDE; r += 1u) {
    let h = row * STRIDE + r - PAD;         // above the map it wraps, and so is not below params.h
    for (var s = 0u; s < SIDE; s += 1u) {
      let w = column * STRIDE + s - PAD;
      if h < params.h && w < params.w {
        sum += itemf(weight[(r * SIDE + s) * params.c + c]) * itemf(x[at + h * params.x1 + w * params.x2]);
      }
    }
  }
  if RELU { sum = max(sum, itemf()); }
  y[i] = item(sum);
}
