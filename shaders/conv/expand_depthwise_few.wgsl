// conv/expand_depthwise of few images on matrix units: h = relu(x w + b), d = relu(depthwise3x3(h) + its bias) with
// stride 2, padded by 1, and parts m of the mean of d over its map: their sum over the parts is the mean.
// grid: batch * PARTS * (N / 16) workgroups, folded, channels first. One workgroup owns BAND rows of d's map and 16 of
// its channels. Each of its subgroups owns 16 pixels of x and a part of the depth; all that it needs from memory is
// asked for at once, and it waits for it once.

// variant ---------------------------------------------------------------
alias elem = f16;        // storage type: f16
const K = 64u;           // channels of x, a multiple of 16 * SPLITS
const N = 256u;          // channels of h and d, a multiple of 16
const IN_H = 14u;        // x's map
const IN_W = 14u;
const BAND = 2u;         // rows of d's map of a workgroup
const SPLITS = 1u;       // of the depth
const WG = 160u;         // invocations per workgroup: 32 * SPLITS for each 16 pixels under a band
const X_PARTS = 1u;      // that x comes in: it is their sum
// -----------------------------------------------------------------------

alias elem4 = vec4<elem>;

struct Params {
  batch: u32,
}

@group(0) @binding(0) var<storage, read>       x:    array<elem4>;  // [X_PARTS, batch, IN_H, IN_W, K]
@group(0) @binding(1) var<storage, read>       w:    array<elem4>;  // [K, N] in blocks of 16 x 16
@group(0) @binding(2) var<storage, read>       b:    array<elem4>;  // [N]
@group(0) @binding(3) var<storage, read>       taps: array<elem4>;  // [9 + 1, N], the bias last
@group(0) @binding(4) var<storage, read_write> d:    array<elem4>;  // [batch, OUT_H, OUT_W, N]
@group(0) @binding(5) var<storage, read_write> m:    array<elem4>;  // [batch, PARTS, N]

const OUT_H = (IN_H + 1u) / 2u;
const OUT_W = (IN_W + 1u) / 2u;
const PARTS = (OUT_H + BAND - 1u) / BAND;
const N4 = N / 4u;
const K4 = K / 4u;
const PIXELS = min(2u * BAND + 1u, IN_H) * IN_W;   // of x's map under a band, at most
const TILES = (PIXELS + 15u) / 16u;
const SUBGROUPS = WG / 32u;
const STEPS = K4 / 4u / SPLITS;                    // of 16, of the depth, of a subgroup
const A_STRIDE = K4 + 2u;                          // two more than it holds: rows start in different banks
const TURNS = (PIXELS * K4 + WG - 1u) / WG;

var<workgroup> tile: array<elem4, TILES * 16u * A_STRIDE>;   // x under the band [PIXELS, K]
var<workgroup> h: array<elem4, TILES * 64u>;                 // [PIXELS, 16]
var<workgroup> sums: array<vec4<f32>, SUBGROUPS * 64u>;      // for each subgroup [16, 16]

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let group = wg.x + wg.y * groups.x;
  if group >= params.batch * (PARTS * N4 / 4u) { return; }
  let image = group / (PARTS * N4 / 4u);
  let part = group / (N4 / 4u) % PARTS;
  let column = group % (N4 / 4u);
  let oy0 = part * BAND;
  let oy1 = min(oy0 + BAND, OUT_H);
  let iy0 = max(2u * oy0, 1u) - 1u;       // rows of x's map under the band: from iy0 to before iy1
  let iy1 = min(2u * oy1, IN_H);
  let subgroup = lid / 32u;
  let lane = lid % 32u;
  let split = subgroup / TILES;

  var u: array<coop_mat16x16<f16, B>, STEPS>;
  //!unroll
  for (var i = 0u; i < STEPS; i += 1u) {
    let w_at = ((split * STEPS + i) * (N4 / 4u) + column) * 64u;
    u[i] = coopLoad<coop_mat16x16<f16, B>>(&w[w_at], 4u);
  }
  var a: array<elem4, TURNS>;
  //!unroll
  for (var n = 0u; n < TURNS; n += 1u) {
    let i = n * WG + lid;
    let pixel = min(i / K4, (iy1 - iy0) * IN_W - 1u);
    let at = ((image * IN_H + iy0) * IN_W + pixel) * K4 + i % K4;
    var v = vec4<f32>(x[at]);
    //!unroll
    for (var p = 1u; p < X_PARTS; p += 1u) { v += vec4<f32>(x[p * params.batch * (IN_H * IN_W * K4) + at]); }
    a[n] = elem4(v);
  }
  //!unroll
  for (var n = 0u; n < TURNS; n += 1u) {
    let i = n * WG + lid;
    if i < PIXELS * K4 { tile[i / K4 * A_STRIDE + i % K4] = a[n]; }
  }
  let c4 = lid % 4u;
  let n4 = column * 4u + c4;
  var tap: array<elem4, 10>;
  //!unroll
  for (var i = 0u; i < 10u; i += 1u) { tap[i] = taps[i * N4 + n4]; }
  let bias = vec4<f32>(b[n4]);
  workgroupBarrier();

  var c = coop_mat16x16<f32, C>();
  //!unroll
  for (var i = 0u; i < STEPS; i += 1u) {
    let a_at = subgroup % TILES * 16u * A_STRIDE + (split * STEPS + i) * 4u;
    let rows = coopLoadT<coop_mat16x16<f16, A>>(&tile[a_at], A_STRIDE);
    c = coopMultiplyAdd(rows, u[i], c);
  }
  let mine = subgroup * 64u;
  coopStoreT(c, &sums[mine], 4u);
  workgroupBarrier();
  for (var i = lid; i < TILES * 64u; i += WG) {
    var v = bias;
    for (var s = 0u; s < SPLITS; s += 1u) { v += sums[s * TILES * 64u + i]; }
    h[i] = elem4(max(v, vec4<f32>()));
  }
  workgroupBarrier();

  var sum = vec4<f32>();
  for (var i = lid / 4u; i < (oy1 - oy0) * OUT_W; i += WG / 4u) {
    let oy = oy0 + i / OUT_W;
    let ox = i % OUT_W;
    var v = vec4<f32>(tap[9]);
    //!unroll
    for (var ky = 0u; ky < 3u; ky += 1u) {
      //!unroll
      for (var kx = 0u; kx < 3u; kx += 1u) {
        // Positions left of or above the map wrap to large numbers, and fail the test as those beyond it do.
        let iy = 2u * oy + ky - 1u;
        let ix = 2u * ox + kx - 1u;
        let inside = iy < IN_H && ix < IN_W;
        let at = select(0u, (iy - iy0) * IN_W + ix, inside);
        v = fma(vec4<f32>(h[at * 4u + c4]), select(vec4<f32>(), vec4<f32>(tap[ky * 3u + kx]), inside), v);
      }
    }
    v = max(v, vec4<f32>());
    d[((image * OUT_H + oy) * OUT_W + ox) * N4 + n4] = elem4(v);
    sum += v;
  }
  sums[lid] = sum;
  workgroupBarrier();
  if lid < 32u {
    for (var i = lid + 32u; i < WG; i += 32u) { sum += sums[i]; }
    sums[lid] = sum;
  }
  workgroupBarrier();
  if lid < 4u {
    for (var i = lid + 4u; i < 32u; i += 4u) { sum += sums[i]; }
    m[(image * PARTS + part) * N4 + n4] = elem4(sum * (1.0 / f32(OUT_H * OUT_W)));
  }
}
