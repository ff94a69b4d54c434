// Gradients of y[r, c] = x[r, c] s[r] g[c], s[r] = 1 / sqrt(mean_c x[r, c]² + eps):
//   dx[r, c]    = s[r] (g[c] dy[r, c] - x[r, c] s[r]² mean_c(x[r, c] g[c] dy[r, c]))
//   parts[i, c] = Σ_r dy[r, c] x[r, c] s[r] over rows i * strip .. (i + 1) * strip; their sum over i is dg[c]
// grid: ceil(rows / strip) workgroups, folded. One workgroup owns a strip of rows and keeps a row in registers.
//!use reduce

// variant ---------------------------------------------------------------
const WG = 64u;        // invocations per workgroup, a power of two
const COLS = 64u;      // a multiple of 4
// -----------------------------------------------------------------------

struct Params {
  rows: u32,
  strip: u32,
  eps: f32,
}

@group(0) @binding(0) var<storage, read>       x:     array<vec4<f32>>;  // [rows, COLS]
@group(0) @binding(1) var<storage, read>       g:     array<vec4<f32>>;  // [COLS]
@group(0) @binding(2) var<storage, read>       dy:    array<vec4<f32>>;  // [rows, COLS]
@group(0) @binding(3) var<storage, read_write> dx:    array<vec4<f32>>;  // [rows, COLS]
@group(0) @binding(4) var<storage, read_write> parts: array<vec4<f32>>;  // [ceil(rows / strip), COLS]

const COLS4 = COLS / 4u;
const EACH = (COLS4 + WG - 1u) / WG;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let group = wg.x + wg.y * groups.x;
  let first = group * params.strip;
  if first >= params.rows { return; }
  var dg: array<vec4<f32>, EACH>;
  for (var row = first; row < min(first + params.strip, params.rows); row += 1u) {
    var v: array<vec4<f32>, EACH>;
    var d: array<vec4<f32>, EACH>;  // dy, then g dy
    var squares = 0.0;
    var product = 0.0;
    //!unroll
    for (var i = 0u; i < EACH; i += 1u) {
      let c = i * WG + lid;
      v[i] = vec4<f32>();
      d[i] = vec4<f32>();
      if c < COLS4 {
        v[i] = x[row * COLS4 + c];
        d[i] = dy[row * COLS4 + c];
      }
      squares += dot(v[i], v[i]);
    }
    let scale = inverseSqrt(workgroup_sum(squares, lid) / f32(COLS) + params.eps);
    //!unroll
    for (var i = 0u; i < EACH; i += 1u) {
      dg[i] += d[i] * v[i] * scale;
      d[i] *= g[min(i * WG + lid, COLS4 - 1u)];
      product += dot(v[i], d[i]);
    }
    let share = scale * scale * (workgroup_sum(product, lid) / f32(COLS));
    //!unroll
    for (var i = 0u; i < EACH; i += 1u) {
      let c = i * WG + lid;
      if c < COLS4 { dx[row * COLS4 + c] = scale * (d[i] - v[i] * share); }
    }
  }
  //!unroll
  for (var i = 0u; i < EACH; i += 1u) {
    let c = i * WG + lid;
    if c < COLS4 { parts[group * COLS4 + c] = dg[i]; }
  }
}
