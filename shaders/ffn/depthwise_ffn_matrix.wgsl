// ffn/depthwise_ffn of many tokens on matrix units: y = t + relu(t W1 + b1) W2 + b2, t = depthwise3x3(x) + its bias.
// The identity of the depthwise residual is in the centre of its taps.
// grid: ceil(m / ROWS) workgroups, folded. One workgroup owns ROWS tokens through all of it. The hidden values exist
// a chunk at a time, 16 channels for each subgroup; y stays in registers until the last chunk, so workgroup memory
// holds more tokens than with all hidden channels, and the weights are read so many times less often.

// variant ---------------------------------------------------------------
alias elem = f16;        // storage type: f16
const CHANNELS = 64u;    // a multiple of 16 times the subgroups
const HIDDEN = 128u;     // a multiple of 16 times the subgroups
const IN_H = 14u;        // the map
const IN_W = 14u;
const ROWS = 64u;        // tokens of a workgroup, a multiple of 16
const WG = 128u;         // invocations per workgroup, a multiple of 32, the subgroup's size
// -----------------------------------------------------------------------

alias elem4 = vec4<elem>;

struct Params {
  m: u32,          // tokens: batch * IN_H * IN_W
}

@group(0) @binding(0) var<storage, read>       x:    array<elem4>;  // [m, CHANNELS]
@group(0) @binding(1) var<storage, read>       taps: array<elem4>;  // [9 + 1, CHANNELS], the bias last
@group(0) @binding(2) var<storage, read>       w:    array<elem4>;  // W1 [CHANNELS, HIDDEN], W2 [HIDDEN, CHANNELS], in blocks of 16 x 16
@group(0) @binding(3) var<storage, read>       bias: array<elem4>;  // b1 [HIDDEN], b2 [CHANNELS]
@group(0) @binding(4) var<storage, read_write> y:    array<elem4>;  // [m, CHANNELS]

const SUBGROUPS = WG / 32u;
const DOWN = ROWS / 16u;                     // blocks of 16 × 16 along the tokens
const ACROSS = CHANNELS / 16u / SUBGROUPS;   // blocks of y that a subgroup has along the channels
const CHUNK = 16u * SUBGROUPS;               // hidden channels at a time
const C4 = CHANNELS / 4u;
const HIDDEN4 = HIDDEN / 4u;
const T_STRIDE = C4 + 2u;                    // two more than it holds: rows start in different banks
const CHUNK_STRIDE = CHUNK / 4u + 2u;

var<workgroup> tile: array<elem4, ROWS * T_STRIDE>;          // t [ROWS, CHANNELS]
var<workgroup> hidden: array<elem4, ROWS * CHUNK_STRIDE>;    // [ROWS, CHUNK]
var<workgroup> block: array<vec4<f32>, SUBGROUPS * 64u>;     // for each subgroup [16, 16]

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let row0 = (wg.x + wg.y * groups.x) * ROWS;
  if row0 >= params.m { return; }
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

  let subgroup = lid / 32u;
  let lane_row = lid % 32u / 2u;         // where in a block this invocation's half a row is
  let lane_n4 = lid % 2u * 2u;
  let mine = subgroup * 64u;
  let own = mine + lane_row * 4u + lane_n4;
  var sum: array<coop_mat16x16<f32, C>, ACROSS * DOWN>;
  //!unroll
  for (var i = 0u; i < ACROSS * DOWN; i += 1u) { sum[i] = coop_mat16x16<f32, C>(); }

  for (var chunk = 0u; chunk < HIDDEN; chunk += CHUNK) {
    let n4 = chunk / 4u + subgroup * 4u;
    var c: array<coop_mat16x16<f32, C>, DOWN>;
    //!unroll
    for (var r = 0u; r < DOWN; r += 1u) { c[r] = coop_mat16x16<f32, C>(); }
    var next_at = n4 * 16u;
    var next = coopLoad<coop_mat16x16<f16, B>>(&w[next_at], 4u);
    for (var k0 = 0u; k0 < CHANNELS; k0 += 16u) {
      let v = next;
      next_at = min(k0 + 16u, CHANNELS - 16u) * HIDDEN4 + n4 * 16u;   // on its way while this one is used
      next = coopLoad<coop_mat16x16<f16, B>>(&w[next_at], 4u);
      //!unroll
      for (var r = 0u; r < DOWN; r += 1u) {
        let at = r * 16u * T_STRIDE + k0 / 4u;
        let a = coopLoadT<coop_mat16x16<f16, A>>(&tile[at], T_STRIDE);
        c[r] = coopMultiplyAdd(a, v, c[r]);
      }
    }
    //!unroll
    for (var r = 0u; r < DOWN; r += 1u) {
      coopStoreT(c[r], &block[mine], 4u);
      workgroupBarrier();
      for (var i = 0u; i < 2u; i += 1u) {
        let v = max(block[own + i] + vec4<f32>(bias[n4 + lane_n4 + i]), vec4<f32>());
        hidden[(r * 16u + lane_row) * CHUNK_STRIDE + subgroup * 4u + lane_n4 + i] = elem4(v);
      }
      workgroupBarrier();
    }
    for (var k0 = 0u; k0 < CHUNK; k0 += 16u) {
      var a: array<coop_mat16x16<f16, A>, DOWN>;
      //!unroll
      for (var r = 0u; r < DOWN; r += 1u) {
        let at = r * 16u * CHUNK_STRIDE + k0 / 4u;
        a[r] = coopLoadT<coop_mat16x16<f16, A>>(&hidden[at], CHUNK_STRIDE);
      }
      //!unroll
      for (var j = 0u; j < ACROSS; j += 1u) {
        let at = CHANNELS * HIDDEN4 + (chunk + k0) * C4 + (subgroup * ACROSS + j) * 64u;
        let v = coopLoad<coop_mat16x16<f16, B>>(&w[at], 4u);
        //!unroll
        for (var r = 0u; r < DOWN; r += 1u) {
          sum[j * DOWN + r] = coopMultiplyAdd(a[r], v, sum[j * DOWN + r]);
        }
      }
    }
    // The next chunk's hidden values are written after its first barrier, which every subgroup reaches after this.
  }

  //!unroll
  for (var j = 0u; j < ACROSS; j += 1u) {
    //!unroll
    for (var r = 0u; r < DOWN; r += 1u) {
      coopStoreT(sum[j * DOWN + r], &block[mine], 4u);
      workgroupBarrier();
      let row = r * 16u + lane_row;
      if row0 + row < params.m {
        for (var i = 0u; i < 2u; i += 1u) {
          let n4 = (subgroup * ACROSS + j) * 4u + lane_n4 + i;
          let t = vec4<f32>(tile[row * T_STRIDE + n4]);
          y[(row0 + row) * C4 + n4] = elem4(t + (block[own + i] + vec4<f32>(bias[HIDDEN4 + n4])));
        }
      }
      workgroupBarrier();
    }
  }
}
