// The stem (conv/stem) on matrix units: mid = relu(conv(x, w1) + b1), y = relu(conv(mid, w2) + b2), both 3×3,
// stride 2, padded by 1. Images are channels first, y is channels last.
// grid: batch * ceil(out_h / TILE_H) * ceil(out_w / TILE_W) workgroups, folded. One workgroup owns a tile of y of
// one image, and the part of mid under it, which is in workgroup memory only. One subgroup computes 16 neighbours
// of a row at a time: their patches are rows of a matrix that begin two pixels apart, so it is read in place.

// variant ---------------------------------------------------------------
alias elem = f16;        // storage type: f16
const MID = 8u;          // channels between, a multiple of 8
const OUT = 16u;         // channels of y, a multiple of 16
const TILE_H = 4u;       // pixels of y of a workgroup
const TILE_W = 14u;      // at most 16
const ACROSS = 1u;       // blocks of 16 channels of y that a subgroup computes together, a divisor of OUT / 16
const WG = 128u;         // invocations per workgroup: 32, the subgroup's size, times a divisor of those tasks
// -----------------------------------------------------------------------

alias elem4 = vec4<elem>;

struct Params {
  batch: u32,
  h: u32, w: u32,          // of the images
}

@group(0) @binding(0) var<storage, read>       x:  array<elem>;   // [batch, 3, h, w]
@group(0) @binding(1) var<storage, read>       w1: array<elem4>;  // [3, 4, 4, N1]: tap y, tap x, channel; zeros beyond
@group(0) @binding(2) var<storage, read>       b1: array<elem4>;  // [MID]
@group(0) @binding(3) var<storage, read>       w2: array<elem4>;  // [3, K2, OUT]: tap y, (tap x, channel); zeros beyond
@group(0) @binding(4) var<storage, read>       b2: array<elem4>;  // [OUT]
@group(0) @binding(5) var<storage, read_write> y:  array<elem4>;  // [batch, out_h, out_w, OUT]

const N1 = (MID + 15u) / 16u * 16u;        // columns of the first product, a multiple of 16
const K2 = (3u * MID + 15u) / 16u * 16u;   // depth of the second for one row of taps
const MID_H = 2u * TILE_H + 1u;            // the part of mid under a tile
const MID_W = 2u * TILE_W + 1u;
const MID_BLOCKS = (MID_W + 15u) / 16u;
const IN_H = 2u * MID_H + 1u;              // the part of the image under that
const IN_W = 2u * MID_W + 2u;              // one more than there are: pairs of pixels are 16 bytes
const MID4 = MID / 4u;
const OUT4 = OUT / 4u;
const SUBGROUPS = WG / 32u;
const OUT_GROUPS = OUT / 16u / ACROSS;
const MID_BEYOND = 8u * MID4;              // read with the last row: for results that are dropped, or times zero
const IN_BEYOND = 32u * MID_BLOCKS;

var<workgroup> image: array<elem4, IN_H * IN_W + IN_BEYOND>;            // [IN_H, IN_W, 3 + 1]
var<workgroup> mid: array<elem4, MID_H * MID_W * MID4 + MID_BEYOND>;    // [MID_H, MID_W, MID]
var<workgroup> block: array<vec4<f32>, SUBGROUPS * 128u>;               // for each subgroup 2 × [16, 16]

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
  let subgroup = lid / 32u;
  let lane = lid % 32u;

  // Positions left of or above a map wrap to large numbers, and fail the tests as those beyond it do.
  for (var i = lid; i < IN_H * IN_W; i += WG) {
    let iy = 4u * oy0 + i / IN_W - 3u;
    let ix = 4u * ox0 + i % IN_W - 3u;
    var v = elem4();
    if iy < params.h && ix < params.w {
      let at = (n * 3u * params.h + iy) * params.w + ix;
      let plane = params.h * params.w;
      v = elem4(x[at], x[at + plane], x[at + 2u * plane], elem());
    }
    image[i] = v;
  }
  for (var i = lid; i < MID_BEYOND; i += WG) { mid[MID_H * MID_W * MID4 + i] = elem4(); }
  workgroupBarrier();

  var u: array<coop_mat16x16<f16, B>, 3u * N1 / 16u>;
  //!unroll
  for (var i = 0u; i < 3u * N1 / 16u; i += 1u) {
    let at = (i / (N1 / 16u) * 16u * N1 + i % (N1 / 16u) * 16u) / 4u;
    u[i] = coopLoadT<coop_mat16x16<f16, B>>(&w1[at], N1 / 4u);
  }
  for (var first = 0u; first < MID_H * MID_BLOCKS; first += SUBGROUPS) {
    let task = min(first + subgroup, MID_H * MID_BLOCKS - 1u);
    let py = task / MID_BLOCKS;
    let px = task % MID_BLOCKS * 16u + lane / 2u;
    var c: array<coop_mat16x16<f32, C>, N1 / 16u>;
    //!unroll
    for (var j = 0u; j < N1 / 16u; j += 1u) { c[j] = coop_mat16x16<f32, C>(); }
    //!unroll
    for (var ky = 0u; ky < 3u; ky += 1u) {
      let at = (2u * py + ky) * IN_W + task % MID_BLOCKS * 32u;
      let a = coopLoadT<coop_mat16x16<f16, A>>(&image[at], 2u);
      //!unroll
      for (var j = 0u; j < N1 / 16u; j += 1u) {
        c[j] = coopMultiplyAdd(a, u[ky * (N1 / 16u) + j], c[j]);
      }
    }
    let inside = 2u * oy0 + py - 1u < mid_h && 2u * ox0 + px - 1u < mid_w;
    // Two halves of the memory in turn: one barrier a block is enough.
    //!unroll
    for (var j = 0u; j < N1 / 16u; j += 1u) {
      let half = subgroup * 128u + j % 2u * 64u;
      coopStoreT(c[j], &block[half], 4u);
      workgroupBarrier();
      for (var i = 0u; i < 2u; i += 1u) {
        let m4 = j * 4u + lane % 2u * 2u + i;
        if first + subgroup < MID_H * MID_BLOCKS && px < MID_W && m4 < MID4 {
          let v = max(block[half + lane * 2u + i] + vec4<f32>(b1[m4]), vec4<f32>());
          mid[(py * MID_W + px) * MID4 + m4] = elem4(select(vec4<f32>(), v, inside));
        }
      }
    }
    if N1 / 16u % 2u == 1u { workgroupBarrier(); }
  }
  workgroupBarrier();

  for (var first = 0u; first < TILE_H * OUT_GROUPS; first += SUBGROUPS) {
    let py = (first + subgroup) / OUT_GROUPS;
    let j0 = (first + subgroup) % OUT_GROUPS * ACROSS;
    var c: array<coop_mat16x16<f32, C>, ACROSS>;
    //!unroll
    for (var j = 0u; j < ACROSS; j += 1u) { c[j] = coop_mat16x16<f32, C>(); }
    //!unroll
    for (var ky = 0u; ky < 3u; ky += 1u) {
      for (var k0 = 0u; k0 < K2; k0 += 16u) {
        let at = (2u * py + ky) * (MID_W * MID4) + k0 / 4u;
        let a = coopLoadT<coop_mat16x16<f16, A>>(&mid[at], 2u * MID4);
        //!unroll
        for (var j = 0u; j < ACROSS; j += 1u) {
          let w_at = (ky * K2 + k0) * OUT4 + (j0 + j) * 4u;
          let v = coopLoadT<coop_mat16x16<f16, B>>(&w2[w_at], OUT4);
          c[j] = coopMultiplyAdd(a, v, c[j]);
        }
      }
    }
    let px = lane / 2u;
    //!unroll
    for (var j = 0u; j < ACROSS; j += 1u) {
      let half = subgroup * 128u + j % 2u * 64u;
      coopStoreT(c[j], &block[half], 4u);
      workgroupBarrier();
      if px < TILE_W && ox0 + px < out_w && oy0 + py < out_h {
        for (var i = 0u; i < 2u; i += 1u) {
          let o4 = (j0 + j) * 4u + lane % 2u * 2u + i;
          let v = max(block[half + lane * 2u + i] + vec4<f32>(b2[o4]), vec4<f32>());
          y[((n * out_h + oy0 + py) * out_w + ox0 + px) * OUT4 + o4] = elem4(v);
        }
      }
    }
    if ACROSS % 2u == 1u { workgroupBarrier(); }
  }
}
