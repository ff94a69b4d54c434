// The first two convolutions of an image model, each 3×3, stride 2, padded by 1, with bias and ReLU:
// mid = relu(conv(x, w1) + b1), y = relu(conv(mid, w2) + b2). Images are channels first, y is channels last.
// grid: batch * ceil(out_h / TILE_H) * ceil(out_w / TILE_W) workgroups, folded. One workgroup owns a tile of y of
// one image, and the part of mid under it, which is in workgroup memory only. One invocation computes
// PIXELS neighbours of a row × 4 QUADS channels of mid or of y at a time.

// variant ---------------------------------------------------------------
alias elem = f32;        // storage type: f32 | f16
const MID = 8u;          // channels between, a multiple of 4 QUADS
const OUT = 16u;         // channels of y, a multiple of 4 QUADS
const TILE_H = 8u;       // pixels of y of a workgroup
const TILE_W = 8u;       // a multiple of PIXELS
const PIXELS = 4u;       // neighbours of a row that an invocation computes together
const QUADS = 2u;        // times four channels
const WG = 64u;          // invocations per workgroup
// -----------------------------------------------------------------------

alias elem4 = vec4<elem>;

struct Params {
  batch: u32,
  h: u32, w: u32,          // of the images
}

@group(0) @binding(0) var<storage, read>       x:  array<elem>;   // [batch, 3, h, w]
@group(0) @binding(1) var<storage, read>       w1: array<elem4>;  // [3, 3, 3, MID]: tap y, tap x, channel, out
@group(0) @binding(2) var<storage, read>       b1: array<elem4>;  // [MID]
@group(0) @binding(3) var<storage, read>       w2: array<elem4>;  // [3, 3, MID, OUT]
@group(0) @binding(4) var<storage, read>       b2: array<elem4>;  // [OUT]
@group(0) @binding(5) var<storage, read_write> y:  array<elem4>;  // [batch, out_h, out_w, OUT]

const MID_H = 2u * TILE_H + 1u;                             // the part of mid under a tile
const MID_W = 2u * TILE_W + 1u;
const MID_ACROSS = (MID_W + PIXELS - 1u) / PIXELS;
const IN_H = 2u * MID_H + 1u;                               // the part of the image under that
const IN_W = 2u * MID_W + 1u;
const MID4 = MID / 4u;
const OUT4 = OUT / 4u;
const OUT_ACROSS = TILE_W / PIXELS;
const BEYOND = 2u * PIXELS;                                 // read with the last row, for results that are dropped

var<workgroup> image: array<elem, 3u * IN_H * IN_W + BEYOND>;  // [3, IN_H, IN_W]
var<workgroup> mid: array<elem4, MID_H * MID_W * MID4>;        // [MID_H, MID_W, MID]

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let mid_h = (params.h + 1u) / 2u;
  let mid_w = (params.w + 1u) / 2u;
  let out_h = (mid_h + 1u) / 2u;
  let out_w = (mid_w + 1u) / 2u;
  let across = (out_w + TILE_W - 1u) / TILE_W;
  let down = (out_h + TILE_H - 1u) / TILE_H;
  let group = wg.x + wg.y * groups.x;
  if group >= params.batch * across * down { return; }
  let n = group / (across * down);
  let oy0 = group / across % down * TILE_H;
  let ox0 = group % across * TILE_W;

  // Positions left of or above a map wrap to large numbers, and fail the tests as those beyond it do.
  for (var i = lid; i < 3u * IN_H * IN_W; i += WG) {
    let iy = 4u * oy0 + i / IN_W % IN_H - 3u;
    let ix = 4u * ox0 + i % IN_W - 3u;
    var v = elem();
    if iy < params.h && ix < params.w {
      v = x[((n * 3u + i / (IN_H * IN_W)) * params.h + iy) * params.w + ix];
    }
    image[i] = v;
  }
  workgroupBarrier();

  for (var task = lid; task < MID4 / QUADS * MID_H * MID_ACROSS; task += WG) {
    let px = task % MID_ACROSS * PIXELS;
    let py = task / MID_ACROSS % MID_H;
    let m4 = task / (MID_ACROSS * MID_H) * QUADS;
    var c: array<vec4<f32>, QUADS * PIXELS>;
    for (var q = 0u; q < QUADS; q += 1u) {
      let bias = vec4<f32>(b1[m4 + q]);
      for (var p = 0u; p < PIXELS; p += 1u) { c[q * PIXELS + p] = bias; }
    }
    for (var ky = 0u; ky < 3u; ky += 1u) {
      for (var ci = 0u; ci < 3u; ci += 1u) {
        let row = (ci * IN_H + 2u * py + ky) * IN_W + 2u * px;
        for (var kx = 0u; kx < 3u; kx += 1u) {
          let at = ((ky * 3u + kx) * 3u + ci) * MID4 + m4;
          for (var q = 0u; q < QUADS; q += 1u) {
            let u = vec4<f32>(w1[at + q]);
            for (var p = 0u; p < PIXELS; p += 1u) {
              c[q * PIXELS + p] += f32(image[row + 2u * p + kx]) * u;
            }
          }
        }
      }
    }
    let my = 2u * oy0 + py - 1u;
    for (var p = 0u; p < PIXELS; p += 1u) {
      let mx = 2u * ox0 + px + p - 1u;
      let inside = my < mid_h && mx < mid_w;
      if px + p < MID_W {
        for (var q = 0u; q < QUADS; q += 1u) {
          let v = max(c[q * PIXELS + p], vec4<f32>());
          mid[(py * MID_W + px + p) * MID4 + m4 + q] = elem4(select(vec4<f32>(), v, inside));
        }
      }
    }
  }
  workgroupBarrier();

  for (var task = lid; task < OUT4 / QUADS * TILE_H * OUT_ACROSS; task += WG) {
    let o4 = task % (OUT4 / QUADS) * QUADS;
    let px = task / (OUT4 / QUADS) % OUT_ACROSS * PIXELS;
    let py = task / (OUT4 / QUADS * OUT_ACROSS);
    var c: array<vec4<f32>, QUADS * PIXELS>;
    for (var q = 0u; q < QUADS; q += 1u) {
      let bias = vec4<f32>(b2[o4 + q]);
      for (var p = 0u; p < PIXELS; p += 1u) { c[q * PIXELS + p] = bias; }
    }
    for (var ky = 0u; ky < 3u; ky += 1u) {
      let row = ((2u * py + ky) * MID_W + 2u * px) * MID4;
      for (var m4 = 0u; m4 < MID4; m4 += 1u) {
        for (var kx = 0u; kx < 3u; kx += 1u) {
          let at = ((ky * 3u + kx) * MID + m4 * 4u) * OUT4 + o4;
          for (var q = 0u; q < QUADS; q += 1u) {
            let u0 = vec4<f32>(w2[at + q]);
            let u1 = vec4<f32>(w2[at + q + OUT4]);
            let u2 = vec4<f32>(w2[at + q + 2u * OUT4]);
            let u3 = vec4<f32>(w2[at + q + 3u * OUT4]);
            for (var p = 0u; p < PIXELS; p += 1u) {
              let a = vec4<f32>(mid[row + (2u * p + kx) * MID4 + m4]);
              c[q * PIXELS + p] += a.x * u0 + a.y * u1 + a.z * u2 + a.w * u3;
            }
          }
        }
      }
    }
    let oy = oy0 + py;
    for (var p = 0u; p < PIXELS; p += 1u) {
      let ox = ox0 + px + p;
      if oy < out_h && ox < out_w {
        for (var q = 0u; q < QUADS; q += 1u) {
          y[((n * out_h + oy) * out_w + ox) * OUT4 + o4 + q] = elem4(max(c[q * PIXELS + p], vec4<f32>()));
        }
      }
    }
  }
}
