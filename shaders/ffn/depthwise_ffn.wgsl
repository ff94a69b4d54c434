// Feed-forward after a depthwise convolution: y = t + relu(t W1 + b1) W2 + b2, t = depthwise3x3(x) + its bias.
// The identity of the depthwise residual is in the centre of its taps.
// grid: ceil(m / ROWS) workgroups, folded. One workgroup owns ROWS tokens through all of it; t and the hidden
// values are in workgroup memory only.
//!use tile_matmul

// variant ---------------------------------------------------------------
alias elem = f32;        // storage type: f32 | f16
const CHANNELS = 64u;    // a multiple of 16
const HIDDEN = 128u;     // a multiple of 16
const IN_H = 14u;        // the map
const IN_W = 14u;
const ROWS = 16u;        // tokens of a workgroup: a multiple of 4; of 16 with matrix units
const WG = 256u;         // invocations per workgroup
// -----------------------------------------------------------------------

alias elem4 = vec4<elem>;

struct Params {
  m: u32,          // tokens: batch * IN_H * IN_W
}

@group(0) @binding(0) var<storage, read>       x:    array<elem4>;  // [m, CHANNELS]
@group(0) @binding(1) var<storage, read>       taps: array<elem4>;  // [9 + 1, CHANNELS], the bias last
@group(0) @binding(2) var<storage, read>       w:    array<elem4>;  // W1 [CHANNELS, HIDDEN], W2 [HIDDEN, CHANNELS]
@group(0) @binding(3) var<storage, read>       bias: array<elem4>;  // b1 [HIDDEN], b2 [CHANNELS]
@group(0) @binding(4) var<storage, read_write> y:    array<elem4>;  // [m, CHANNELS]

const C4 = CHANNELS / 4u;
const HIDDEN4 = HIDDEN / 4u;
const T_STRIDE = C4 + 2u;            // two more than it holds: rows start in different banks
const HIDDEN_STRIDE = HIDDEN4 + 2u;
const HIDDEN_AT = ROWS * T_STRIDE;

var<workgroup> tile: array<elem4, ROWS * (T_STRIDE + HIDDEN_STRIDE)>;  // t [ROWS, CHANNELS], hidden [ROWS, HIDDEN]
var<private> row0: u32;

fn tile_store(stage: u32, row: u32, n4: u32, v: vec4<f32>) {
  if stage == 0u {
    tile[HIDDEN_AT + row * HIDDEN_STRIDE + n4] = elem4(max(v + vec4<f32>(bias[n4]), vec4<f32>()));
  } else if row0 + row < params.m {
    let t = vec4<f32>(tile[row * T_STRIDE + n4]);
    y[(row0 + row) * C4 + n4] = elem4(t + (v + vec4<f32>(bias[HIDDEN4 + n4])));
  }
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  row0 = (wg.x + wg.y * groups.x) * ROWS;
  if (wg.x + wg.y * groups.x) * ROWS >= params.m { return; }
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
          if iy + ky - 1u < IN_H && ix + kx - 1u < IN_W {
            let at = (row + ky * IN_W + kx - IN_W - 1u) * C4 + c;
            t += vec4<f32>(x[at]) * vec4<f32>(taps[(ky * 3u + kx) * C4 + c]);
          }
        }
      }
    }
    tile[i / C4 * T_STRIDE + c] = elem4(t);
  }
  workgroupBarrier();
  tile_matmul(0u, lid, 0u, T_STRIDE, CHANNELS, 0u, HIDDEN4, HIDDEN);
  workgroupBarrier();
  tile_matmul(1u, lid, HIDDEN_AT, HIDDEN_STRIDE, HIDDEN, CHANNELS * HIDDEN4, C4, CHANNELS);
}
