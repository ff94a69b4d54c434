// y[i] = the generator's words for key (seeds[i], i) and counter (i, purpose), and its unit's bits.
//!use random

// variant ---------------------------------------------------------------
const WG = 64u;
// -----------------------------------------------------------------------

struct Params {
  n: u32,
  purpose: u32,
}

@group(0) @binding(0) var<storage, read>       seeds: array<u32>;  // [n]
@group(0) @binding(1) var<storage, read_write> y:     array<u32>;  // [n, 3]

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if id.x >= params.n { return; }
  let key = vec2<u32>(seeds[id.x], id.x);
  let words = random_bits(key, vec2<u32>(id.x, params.purpose));
  y[id.x * 3u] = words.x;
  y[id.x * 3u + 1u] = words.y;
  y[id.x * 3u + 2u] = bitcast<u32>(random_unit(key, id.x, params.purpose));
}
