// ffn/depthwise_ffn of few tokens on matrix units: y = t + relu(t W1 + b1) W2 + b2, t = depthwise3x3(x) + its bias.
// The identity of the depthwise residual is in the centre of its taps.
// grid: ceil(m / 16) * SLICES workgroups, folded, slices first. One workgroup owns 16 tokens through a slice of the
// hidden channels; y comes in as many parts, whose sum it is, the first with t and b2. x may come in parts too.
// One tile to a multiprocessor, so the waits are the time: every weight of a workgroup is asked for before anything
// else and stays in registers, and from there on it waits for memory once, for x.

// variant ---------------------------------------------------------------
alias elem = f16;        // storage type: f16
const CHANNELS = 64u;    // a multiple of 16
const HIDDEN = 128u;     // a multiple of 16 * SLICES
const IN_H = 14u;        // the map
const IN_W = 14u;
const WG = 256u;         // invocations per workgroup: 32 for each 16 hidden channels of a slice, times SPLITS
const SLICES = 2u;       // of the hidden channels
const SPLITS = 2u;       // of the channels in the first product; divides CHANNELS / 16
const PARTS = 1u;        // of x
// -----------------------------------------------------------------------

alias elem4 = vec4<elem>;

struct Params {
  m: u32,          // tokens: batch * IN_H * IN_W
}

@group(0) @binding(0) var<storage, read>       x:    array<elem4>;  // [PARTS, m, CHANNELS]
@group(0) @binding(1) var<storage, read>       taps: array<elem4>;  // [9 + 1, CHANNELS], the bias last
@group(0) @binding(2) var<storage, read>       w:    array<elem4>;  // W1 [CHANNELS, HIDDEN], W2 [HIDDEN, CHANNELS], in blocks of 16 x 16
@group(0) @binding(3) var<storage, read>       bias: array<elem4>;  // b1 [HIDDEN], b2 [CHANNELS]
@group(0) @binding(4) var<storage, read_write> y:    array<elem4>;  // [SLICES, m, CHANNELS]

const C4 = CHANNELS / 4u;
const HIDDEN4 = HIDDEN / 4u;
const SUBGROUPS = WG / 32u;
const SLICE4 = HIDDEN4 / SLICES;
const COLUMNS = SLICE4 / 4u;                  // of 16, of the first product; and steps of the second's depth
const STEPS = C4 / 4u / SPLITS;               // of the first product's depth, of a subgroup
const TURNS = (C4 / 4u + SUBGROUPS - 1u) / SUBGROUPS;  // columns of 16, of the second product, of a subgroup
const T_STRIDE = C4 + 2u;                     // two more than it holds: rows start in different banks
const HIDDEN_STRIDE = SLICE4 + 2u;
const ALONE = 16u % (IN_H * IN_W) == 0u;      // 16 tokens are whole maps
const AROUND = select(IN_W + 1u, 0u, ALONE);  // tokens before and after that the taps reach
const SPAN4 = (16u + 2u * AROUND) * C4;
const SPAN_TURNS = (SPAN4 + WG - 1u) / WG;

var<workgroup> tile: array<elem4, 16u * T_STRIDE>;            // t [16, CHANNELS]
var<workgroup> hidden: array<elem4, 16u * HIDDEN_STRIDE>;     // [16, HIDDEN / SLICES]
var<workgroup> span: array<elem4, SPAN4>;                     // x in one part [16 + 2 AROUND, CHANNELS]
var<workgroup> near: array<elem4, 10u * C4>;                // taps
var<workgroup> sums: array<vec4<f32>, SUBGROUPS * 64u>;       // for each subgroup [16, 16]

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let group = wg.x + wg.y * groups.x;
  let row0 = group / SLICES * 16u;
  let slice = group % SLICES;
  if row0 >= params.m { return; }
  let subgroup = lid / 32u;
  let lane = lid % 32u;
  let mine = subgroup * 64u;

  // x, its parts as one. Tokens beyond the ends are masked where they are used.
  for (var i = lid; i < 10u * C4; i += WG) { near[i] = taps[i]; }
  var sum: array<vec4<f32>, SPAN_TURNS>;
  //!unroll
  for (var n = 0u; n < SPAN_TURNS; n += 1u) {
    let i = min(n * WG + lid, SPAN4 - 1u);
    let token = min(row0 + i / C4 - AROUND, params.m - 1u);
    sum[n] = vec4<f32>();
    //!unroll
    for (var p = 0u; p < PARTS; p += 1u) { sum[n] += vec4<f32>(x[(p * params.m + token) * C4 + i % C4]); }
  }
  var w1: array<coop_mat16x16<f16, B>, STEPS>;
  //!unroll
  for (var i = 0u; i < STEPS; i += 1u) {
    let w_at = ((subgroup / COLUMNS * STEPS + i) * (HIDDEN4 / 4u) + slice * COLUMNS + subgroup % COLUMNS) * 64u;
    w1[i] = coopLoad<coop_mat16x16<f16, B>>(&w[w_at], 4u);
  }
  var w2: array<coop_mat16x16<f16, B>, TURNS * COLUMNS>;
  //!unroll
  for (var j = 0u; j < TURNS; j += 1u) {
    //!unroll
    for (var i = 0u; i < COLUMNS; i += 1u) {
      let w_at = CHANNELS * HIDDEN4
        + ((slice * COLUMNS + i) * (C4 / 4u) + min(subgroup + j * SUBGROUPS, C4 / 4u - 1u)) * 64u;
      w2[j * COLUMNS + i] = coopLoad<coop_mat16x16<f16, B>>(&w[w_at], 4u);
    }
  }
  //!unroll
  for (var n = 0u; n < SPAN_TURNS; n += 1u) {
    if n * WG + lid < SPAN4 { span[n * WG + lid] = elem4(sum[n]); }
  }
  workgroupBarrier();

  for (var i = lid; i < 16u * C4; i += WG) {
    let row = row0 + i / C4;
    let c = i % C4;
    let ix = row % IN_W;
    let iy = row / IN_W % IN_H;
    var t = vec4<f32>(near[9u * C4 + c]);
    //!unroll
    for (var ky = 0u; ky < 3u; ky += 1u) {
      //!unroll
      for (var kx = 0u; kx < 3u; kx += 1u) {
        // Positions left of or above the map wrap to large numbers, and fail the test as those beyond it do.
        let inside = iy + ky - 1u < IN_H && ix + kx - 1u < IN_W;
        let at = select(0u, i / C4 + AROUND + ky * IN_W + kx - IN_W - 1u, inside);
        t = fma(vec4<f32>(span[at * C4 + c]), select(vec4<f32>(), vec4<f32>(near[(ky * 3u + kx) * C4 + c]), inside), t);
      }
    }
    tile[i / C4 * T_STRIDE + c] = elem4(t);
  }
  workgroupBarrier();

  var c1 = coop_mat16x16<f32, C>();
  //!unroll
  for (var i = 0u; i < STEPS; i += 1u) {
    let t_at = (subgroup / COLUMNS * STEPS + i) * 4u;
    let t = coopLoadT<coop_mat16x16<f16, A>>(&tile[t_at], T_STRIDE);
    c1 = coopMultiplyAdd(t, w1[i], c1);
  }
  coopStoreT(c1, &sums[mine], 4u);
  workgroupBarrier();
  for (var i = lid; i < 16u * SLICE4; i += WG) {
    let n4 = i % SLICE4;
    let at = n4 / 4u * 64u + i / SLICE4 * 4u + n4 % 4u;
    var v = vec4<f32>(bias[slice * SLICE4 + n4]);
    for (var s = 0u; s < SPLITS; s += 1u) { v += sums[s * COLUMNS * 64u + at]; }
    hidden[i / SLICE4 * HIDDEN_STRIDE + n4] = elem4(max(v, vec4<f32>()));
  }
  workgroupBarrier();

  var h: array<coop_mat16x16<f16, A>, COLUMNS>;
  //!unroll
  for (var i = 0u; i < COLUMNS; i += 1u) {
    let h_at = i * 4u;
    h[i] = coopLoadT<coop_mat16x16<f16, A>>(&hidden[h_at], HIDDEN_STRIDE);
  }
  //!unroll
  for (var j = 0u; j < TURNS; j += 1u) {
    var c2 = coop_mat16x16<f32, C>();
    //!unroll
    for (var i = 0u; i < COLUMNS; i += 1u) { c2 = coopMultiplyAdd(h[i], w2[j * COLUMNS + i], c2); }
    coopStoreT(c2, &sums[mine], 4u);
    subgroupBarrier();
    let column = subgroup + j * SUBGROUPS;
    //!unroll
    for (var i = 0u; i < 2u; i += 1u) {
      let row = i * 8u + lane / 4u;
      let n4 = column * 4u + lane % 4u;
      if column < C4 / 4u && row0 + row < params.m {
        var v = sums[mine + row * 4u + lane % 4u];
        if slice == 0u { v = vec4<f32>(tile[row * T_STRIDE + n4]) + (v + vec4<f32>(bias[HIDDEN4 + n4])); }
        y[(slice * params.m + row0 + row) * C4 + n4] = elem4(v);
      }
    }
    subgroupBarrier();
  }
}
