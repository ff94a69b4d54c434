// Feed-forward after a depthwise convolution: y = t + relu(t W1 + b1) W2 + b2, t = depthwise3x3(x) + its bias.
// The identity of the depthwise residual is in the centre of its taps.
// grid: ceil(m / ROWS) * SLICES workgroups, folded, slices first. One workgroup owns ROWS tokens through a slice of
// the hidden channels; t and the hidden values are in workgroup memory only. With several slices y comes in as many
// parts, whose sum it is, the first with t and b2: few tokens then keep many workgroups busy in one dispatch. x may
// come in parts too.
//!use tile_matmul

// variant ---------------------------------------------------------------
alias elem = f32;        // storage type: f32 | f16
const CHANNELS = 64u;    // a multiple of 16
const HIDDEN = 128u;     // a multiple of 16
const IN_H = 14u;        // the map
const IN_W = 14u;
const ROWS = 16u;        // tokens of a workgroup: a multiple of 4
const WG = 256u;         // invocations per workgroup
const SLICES = 1u;       // of the hidden channels, each a multiple of 4
const PARTS = 1u;        // of x
// -----------------------------------------------------------------------

alias elem4 = vec4<elem>;

struct Params {
  m: u32,          // tokens: batch * IN_H * IN_W
}

@group(0) @binding(0) var<storage, read>       x:    array<elem4>;  // [PARTS, m, CHANNELS]
@group(0) @binding(1) var<storage, read>       taps: array<elem4>;  // [9 + 1, CHANNELS], the bias last
@group(0) @binding(2) var<storage, read>       w:    array<elem4>;  // W1 [CHANNELS, HIDDEN], W2 [HIDDEN, CHANNELS]
@group(0) @binding(3) var<storage, read>       bias: array<elem4>;  // b1 [HIDDEN], b2 [CHANNELS]
@group(0) @binding(4) var<storage, read_write> y:    array<elem4>;  // [SLICES, m, CHANNELS]

const C4 = CHANNELS / 4u;
const HIDDEN4 = HIDDEN / 4u;
const T_STRIDE = C4 + 2u;            // two more than it holds: rows start in different banks
const SLICE = HIDDEN / SLICES;
const SLICE4 = SLICE / 4u;
const HIDDEN_STRIDE = SLICE4 + 2u;
const HIDDEN_AT = ROWS * T_STRIDE;
const AROUND = IN_W + 1u;                                     // tokens before and after that the taps reach
const SPAN4 = select(2u, (ROWS + 2u * AROUND) * C4, PARTS > 1u);

var<workgroup> tile: array<elem4, ROWS * (T_STRIDE + HIDDEN_STRIDE)>;  // t [ROWS, CHANNELS], hidden [ROWS, SLICE]
var<workgroup> span: array<elem4, SPAN4>;                     // x in one part [ROWS + 2 AROUND, CHANNELS]
var<private> row0: u32;
var<private> slice: u32;

fn tile_load(at: u32) -> vec4<f32> { return vec4<f32>(tile[at]); }

fn tile_store(stage: u32, row: u32, n4: u32, v: vec4<f32>) {
  if stage == 0u {
    tile[HIDDEN_AT + row * HIDDEN_STRIDE + n4] = elem4(max(v + vec4<f32>(bias[slice * SLICE4 + n4]), vec4<f32>()));
  } else if row0 + row < params.m {
    var sum = v;
    if slice == 0u {
      sum = vec4<f32>(tile[row * T_STRIDE + n4]) + (v + vec4<f32>(bias[HIDDEN4 + n4]));
    }
    y[(slice * params.m + row0 + row) * C4 + n4] = elem4(sum);
  }
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let group = wg.x + wg.y * groups.x;
  if group / SLICES * ROWS >= params.m { return; }
  row0 = group / SLICES * ROWS;
  slice = group % SLICES;
  if PARTS > 1u {
    for (var i = lid; i < SPAN4; i += WG) {
      let token = row0 + i / C4 - AROUND;
      var sum = vec4<f32>();
      if token < params.m {
        for (var p = 0u; p < PARTS; p += 1u) { sum += vec4<f32>(x[(p * params.m + token) * C4 + i % C4]); }
      }
      span[i] = elem4(sum);
    }
    workgroupBarrier();
  }
  for (var i = lid; i < ROWS * C4; i += WG) {
    let row = row0 + i / C4;
    let c = i % C4;
    var t = vec4<f32>();
    if row < params.m {
      let ix = row % IN_W;
      let iy = row / IN_W % IN_H;
      t = vec4<f32>(taps[9u * C4 + c]);
      for (var ky = 0u; ky < 3u; ky += 1u) {
        for (var kx = 0u; kx < 3u; kx += 1u) {
          // Positions left of or above the map wrap to large numbers, and fail the test as those beyond it do.
          // The loads are not in a branch, so that all nine are in flight at once.
          let inside = iy + ky - 1u < IN_H && ix + kx - 1u < IN_W;
          let tap = vec4<f32>(taps[(ky * 3u + kx) * C4 + c]);
          var v = vec4<f32>();
          if PARTS > 1u {
            v = vec4<f32>(span[(i / C4 + ky * IN_W + kx) * C4 + c]);
          } else {
            v = vec4<f32>(x[select(row, row + ky * IN_W + kx - AROUND, inside) * C4 + c]);
          }
          t = fma(v, select(vec4<f32>(), tap, inside), t);
        }
      }
    }
    tile[i / C4 * T_STRIDE + c] = elem4(t);
  }
  workgroupBarrier();
  tile_matmul(0u, lid, 0u, T_STRIDE, CHANNELS, slice * SLICE4, HIDDEN4, SLICE);
  workgroupBarrier();
  tile_matmul(1u, lid, HIDDEN_AT, HIDDEN_STRIDE, SLICE, CHANNELS * HIDDEN4 + slice * SLICE * C4, C4, CHANNELS);
}
