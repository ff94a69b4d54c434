// A dense f32 weight x [n, k] as the kernels of language models read it: blocks of 16 rows × 64 of depth, in each
// [4 quarters of the depth][16 rows][16 of depth], of f32 or, with HALVES, of f16 rounded to the nearest, ties to even.
// Zero beyond the weight's shape.
// grid: ceil(ceil(n / 16) * ceil(k / 64) * 1024 / EACH / WG) workgroups, folded. One invocation owns 16 bytes.

// variant ---------------------------------------------------------------
const HALVES = false;
// -----------------------------------------------------------------------

struct Params {
  n: u32,
  k: u32,
}

@group(0) @binding(0) var<storage, read>       x: array<f32>;        // [n, k]
@group(0) @binding(1) var<storage, read_write> w: array<vec4<u32>>;  // packed [n, k]

const WG = 64u;
const EACH = select(4u, 8u, HALVES);   // weights of an invocation

// The bits of the nearest f16; what is too large becomes infinite.
fn half_bits(v: f32) -> u32 {
  let bits = bitcast<u32>(v);
  let sign = (bits >> 16u) & 0x8000u;
  let a = bits & 0x7fffffffu;
  if a > 0x7f800000u { return sign | 0x7e00u; }
  if a >= 0x477ff000u { return sign | 0x7c00u; }
  if a < 0x38800000u { return sign | u32(round(abs(v) * 16777216.0)); }
  return sign | ((a + 0xfffu + ((a >> 13u) & 1u) - 0x38000000u) >> 13u);
}

fn weight_at(n: u32, k: u32) -> f32 {
  if n >= params.n || k >= params.k { return 0.0; }
  return x[n * params.k + k];
}

fn two(n: u32, k: u32) -> u32 {
  return half_bits(weight_at(n, k)) | (half_bits(weight_at(n, k + 1u)) << 16u);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let at = (wg.x + wg.y * groups.x) * WG + lid;
  let deep = (params.k + 63u) / 64u;
  let block = at * EACH / 1024u;
  if block >= (params.n + 15u) / 16u * deep { return; }
  let inside = at * EACH % 1024u;
  let n = block / deep * 16u + inside / 16u % 16u;
  let k = block % deep * 64u + inside / 256u * 16u + inside % 16u;
  if HALVES {
    w[at] = vec4(two(n, k), two(n, k + 2u), two(n, k + 4u), two(n, k + 6u));
  } else {
    w[at] = bitcast<vec4<u32>>(vec4(weight_at(n, k), weight_at(n, k + 1u), weight_at(n, k + 2u), weight_at(n, k + 3u)));
  }
}
