// A dense f32 weight x [n, k] as q8_0, as the kernels of language models read it: blocks of 16 rows × 64 of depth, in
// each [2 halves of 16][16 rows][2 quantised blocks of 32], 16 bytes q + 128 whose order in a word is 0, 2, 1, 3; and
// scales [16 rows][2] f16 a block. A quantised block has the scale d = max |x| / 127 and q = x / d, rounded.
// Quantised blocks beyond the weight's shape are 0, bytes too.
// grid: ceil(ceil(n / 16) * ceil(k / 64) * 256 / WG) workgroups, folded. One invocation owns four weights, a word; one
// of sixteen two scales too.

struct Params {
  n: u32,
  k: u32,
}

@group(0) @binding(0) var<storage, read>       x:      array<f32>;  // [n, k]
@group(0) @binding(1) var<storage, read_write> w:      array<u32>;  // packed [n, k]
@group(0) @binding(2) var<storage, read_write> scales: array<u32>;  // [blocks, 16]

const WG = 64u;

// The bits of the nearest f16 of a number that is not below 0; what is too large becomes infinite.
fn half_bits(v: f32) -> u32 {
  let a = bitcast<u32>(v);
  if a > 0x7f800000u { return 0x7e00u; }
  if a >= 0x477ff000u { return 0x7c00u; }
  if a < 0x38800000u { return u32(round(v * 16777216.0)); }
  return (a + 0xfffu + ((a >> 13u) & 1u) - 0x38000000u) >> 13u;
}

fn weight_at(n: u32, k: u32) -> f32 {
  if n >= params.n || k >= params.k { return 0.0; }
  return x[n * params.k + k];
}

// q + 128, q rounded to the nearest, ties away from 0.
fn quantised(n: u32, k: u32, inverse: f32) -> u32 {
  let v = weight_at(n, k) * inverse;
  return u32(clamp(128.0 + sign(v) * floor(abs(v) + 0.5), 0.0, 255.0));
}

// The scale of the quantised block that starts at k.
fn scale_of(n: u32, k: u32) -> f32 {
  var most = 0.0;
  for (var i = 0u; i < 32u; i += 1u) { most = max(most, abs(weight_at(n, k + i))); }
  return most / 127.0;
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let at = (wg.x + wg.y * groups.x) * WG + lid;
  let deep = (params.k + 63u) / 64u;
  let block = at / 256u;
  if block >= (params.n + 15u) / 16u * deep { return; }
  let n0 = block / deep * 16u;
  let n = n0 + at / 8u % 16u;
  let k0 = block % deep * 64u + at / 4u % 2u * 32u;
  let d = scale_of(n, k0);
  let inverse = select(0.0, 1.0 / d, d > 0.0);
  let k = k0 + at / 128u % 2u * 16u + at % 4u * 4u;
  let word = quantised(n, k, inverse) | (quantised(n, k + 2u, inverse) << 8u) |
    (quantised(n, k + 1u, inverse) << 16u) | (quantised(n, k + 3u, inverse) << 24u);
  w[at] = select(0u, word, n < params.n && k0 < params.k);
  if at % 8u == 0u && at / 128u % 2u == 0u {
    scales[block * 16u + n % 16u] = half_bits(d) | (half_bits(scale_of(n, k0 + 32u)) << 16u);
  }
}
