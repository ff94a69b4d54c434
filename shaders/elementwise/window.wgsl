// y[b, i, j, dy, dx, c] = x[b, i * WS + dy, j * WS + dx, c], 0 beyond x: a map as windows. REVERSE: the inverse,
// cropped.
// grid: ceil(n / WG) workgroups, folded. One invocation owns one item of y: LANES neighbouring channels.
//!use lanes

// variant ---------------------------------------------------------------
alias elem = f32;      // storage type: f32 | f16
const WS = 7u;         // side of a window
const REVERSE = false; // from windows to a map
const WG = 256u;       // invocations per workgroup
// -----------------------------------------------------------------------

struct Params {
  n: u32,                   // items of y
  h: u32, w: u32, c: u32,   // the map: rows, columns, items of channels
  down: u32, across: u32,   // windows of an image: ceil(h / WS), ceil(w / WS)
}

@group(0) @binding(0) var<storage, read>       x: array<item>;  // [B, h, w, c]; REVERSE: [B * down * across, WS, WS, c]
@group(0) @binding(1) var<storage, read_write> y: array<item>;  // [B * down * across, WS, WS, c]; REVERSE: [B, h, w, c]

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let i = (wg.x + wg.y * groups.x) * WG + lid;
  if i >= params.n { return; }
  let channel = i % params.c;
  let at = i / params.c;
  if REVERSE {
    let column = at % params.w;
    let row = at / params.w % params.h;
    let image = at / (params.w * params.h);
    let window = (image * params.down + row / WS) * params.across + column / WS;
    y[i] = x[((window * WS + row % WS) * WS + column % WS) * params.c + channel];
  } else {
    let window = at / (WS * WS);
    let column = window % params.across * WS + at % WS;
    let row = window / params.across % params.down * WS + at / WS % WS;
    let image = window / (params.across * params.down);
    var v = item();
    if row < params.h && column < params.w {
      v = x[((image * params.h + row) * params.w + column) * params.c + channel];
    }
    y[i] = v;
  }
}
