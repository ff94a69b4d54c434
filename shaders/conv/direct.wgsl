// y[b, i, j, o] = bias[o] + Σ_{r, s, c} weight[r, s, c, o] * x[b, i * STRIDE + r - PAD, j * STRIDE + s - PAD, c], x
// being 0 outside its map; with RELU, max(y, 0).
// grid: ceil(n / WG) workgroups, folded. One invocation owns TW neighbouring columns of one item of y: LANES
// neighbouring channels.
//!use lanes

// variant ---------------------------------------------------------------
alias elem = f32;      // storage type: f32 | f16
const SIDE = 3u;       // kernel side, stride, padding
const STRIDE = 1u;
const PAD = 1u;
const RELU = false;
const TW = 4u;         // columns of y of an invocation
const WG = 64u;        // invocations per workgroup
// -----------------------------------------------------------------------

struct Params {
  n: u32,                                            // invocations: B * oh * ceil(ow / TW) * co
  h: u32, w: u32, ci: u32,                           // x
  oh: u32, ow: u32, co: u32,                         // y; co in items
  x0: u32, x1: u32, x2: u32, x3: u32, x_offset: u32, // strides and offset of x, in elements
}

@group(0) @binding(0) var<storage, read>       x:      array<elem>;  // [B, h, w, ci] by strides
@group(0) @binding(1) var<storage, read>       weight: array<item>;  // [SIDE, SIDE, ci, co]
@group(0) @binding(2) var<storage, read>       bias:   array<item>;  // [co]
@group(0) @binding(3) var<storage, read_write> y:      array<item>;  // [B, oh, ow, co]

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let i = (wg.x + wg.y * groups.x) * WG + lid;
  if i >= params.n { return; }
  let across = (params.ow + TW - 1u) / TW;
  let o = i % params.co;
  let column = i / params.co % across * TW;
  let line = i / (params.co * across);  // of B * oh
  let row = line % params.oh;
  let image = params.x_offset + line / params.oh * params.x0;
  var sums: array<itemf, TW>;
  for (var t = 0u; t < TW; t += 1u) { sums[t] = itemf(bias[o]); }
  for (var r = 0u; r < SIDE; r += 1u) {
    let h = row * STRIDE + r - PAD;     // above the map it wraps, and so is not below params.h
    if h >= params.h { continue; }
    for (var s = 0u; s < SIDE; s += 1u) {
      for (var c = 0u; c < params.ci; c += 1u) {
        let k = itemf(weight[((r * SIDE + s) * params.ci + c) * params.co + o]);
        for (var t = 0u; t < TW; t += 1u) {
          let w = (column + t) * STRIDE + s - PAD;
          if w < params.w { sums[t] += k * f32(x[image + h * params.x1 + w * params.x2 + c * params.x3]); }
        }
      }
    }
  }
  for (var t = 0u; t < TW; t += 1u) {
    if column + t < params.ow {
      var sum = sums[t];
      if RELU { sum = max(sum, itemf()); }
      y[(line * params.ow + column + t) * params.co + o] = item(sum);
    }
  }
}
