// Patch merging's first half: h = relu(x w + b), d = relu(depthwise3x3(h) + its bias) with stride 2, padded by 1,
// and parts m of the mean of d over its map, for the squeeze-excite: their sum over the parts is the mean.
// grid: batch * PARTS * (N / CHUNK) workgroups, folded, chunks first. One workgroup owns BAND rows of d's map and
// CHUNK of its channels; the h under them is in workgroup memory only.
//!use rows_matmul

// variant ---------------------------------------------------------------
alias elem = f32;        // storage type: f32 | f16
const K = 64u;           // channels of x, a multiple of 4; of 16 with matrix units
const N = 256u;          // channels of h and d, a multiple of CHUNK
const IN_H = 14u;        // x's map
const IN_W = 14u;
const CHUNK = 32u;       // channels of a workgroup: a multiple of 4; of 16 with matrix units
const BAND = 7u;         // rows of d's map of a workgroup
const WG = 256u;         // invocations per workgroup, a multiple of CHUNK / 4
// -----------------------------------------------------------------------

alias elem4 = vec4<elem>;

struct Params {
  batch: u32,
}

@group(0) @binding(0) var<storage, read>       x:    array<elem4>;  // [batch, IN_H, IN_W, K]
@group(0) @binding(1) var<storage, read>       w:    array<elem4>;  // [K, N]
@group(0) @binding(2) var<storage, read>       b:    array<elem4>;  // [N]
@group(0) @binding(3) var<storage, read>       taps: array<elem4>;  // [9 + 1, N], the bias last
@group(0) @binding(4) var<storage, read_write> d:    array<elem4>;  // [batch, OUT_H, OUT_W, N]
@group(0) @binding(5) var<storage, read_write> m:    array<elem4>;  // [batch, PARTS, N]

const OUT_H = (IN_H + 1u) / 2u;
const OUT_W = (IN_W + 1u) / 2u;
const PARTS = (OUT_H + BAND - 1u) / BAND;
const CHUNKS = N / CHUNK;
const N4 = N / 4u;
const CHUNK4 = CHUNK / 4u;
const BAND_ROWS = min(2u * BAND + 1u, IN_H);   // rows of x's map under a band, at most
const SUMS = WG / CHUNK4;                      // invocations that share a column

var<workgroup> h: array<elem4, BAND_ROWS * IN_W * CHUNK4>;  // [BAND_ROWS, IN_W, CHUNK]
var<workgroup> sums: array<vec4<f32>, WG>;                  // [SUMS, CHUNK]
var<private> first4: u32;                                   // the workgroup's first channel / 4

fn rows_store(row: u32, n4: u32, v: vec4<f32>) {
  h[row * CHUNK4 + n4] = elem4(max(v + vec4<f32>(b[first4 + n4]), vec4<f32>()));
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let group = wg.x + wg.y * groups.x;
  if group >= params.batch * (PARTS * CHUNKS) { return; }
  let image = group / (PARTS * CHUNKS);
  let part = group / CHUNKS % PARTS;
  first4 = group % CHUNKS * CHUNK4;
  let oy0 = part * BAND;
  let oy1 = min(oy0 + BAND, OUT_H);
  let iy0 = max(2u * oy0, 1u) - 1u;       // rows of x's map under the band: from iy0 to before iy1
  let iy1 = min(2u * oy1, IN_H);
  rows_matmul(lid, (image * IN_H + iy0) * IN_W, (iy1 - iy0) * IN_W, group % CHUNKS * CHUNK4);
  workgroupBarrier();

  let c4 = lid % CHUNK4;
  let n4 = first4 + c4;
  var sum = vec4<f32>();
  for (var i = lid / CHUNK4; i < (oy1 - oy0) * OUT_W; i += SUMS) {
    let oy = oy0 + i / OUT_W;
    let ox = i % OUT_W;
    var v = vec4<f32>(taps[9u * N4 + n4]);
    for (var ky = 0u; ky < 3u; ky += 1u) {
      for (var kx = 0u; kx < 3u; kx += 1u) {
        // Positions left of or above the map wrap to large numbers, and fail the test as those beyond it do.
        let iy = 2u * oy + ky - 1u;
        let ix = 2u * ox + kx - 1u;
        if iy < IN_H && ix < IN_W {
          v += vec4<f32>(h[((iy - iy0) * IN_W + ix) * CHUNK4 + c4]) * vec4<f32>(taps[(ky * 3u + kx) * N4 + n4]);
        }
      }
    }
    v = max(v, vec4<f32>());
    d[((image * OUT_H + oy) * OUT_W + ox) * N4 + n4] = elem4(v);
    sum += v;
  }
  sums[lid] = sum;
  workgroupBarrier();
  if lid < CHUNK4 {
    for (var i = 1u; i < SUMS; i += 1u) { sum += sums[i * CHUNK4 + lid]; }
    m[(image * PARTS + part) * N4 + n4] = elem4(sum * (1.0 / f32(OUT_H * OUT_W)));
  }
}
