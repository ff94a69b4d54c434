// random: random_bits(key, counter), a pure function, and random_unit(seed, position, purpose) in [0, 1) of its top
// 24 bits: Threefry-2x32 with 20 rounds. The host's twin is kernels::sample::random.
fn threefry_rounds(state: vec2<u32>, turns: vec4<u32>) -> vec2<u32> {
  var x = state;
  //!unroll
  for (var i = 0u; i < 4u; i += 1u) {
    x.x += x.y;
    x.y = ((x.y << turns[i]) | (x.y >> (32u - turns[i]))) ^ x.x;
  }
  return x;
}

fn random_bits(key: vec2<u32>, counter: vec2<u32>) -> vec2<u32> {
  let even = vec4<u32>(13u, 15u, 26u, 6u);
  let odd = vec4<u32>(17u, 29u, 16u, 24u);
  let third = 0x1bd11bdau ^ key.x ^ key.y;
  var x = counter + key;
  x = threefry_rounds(x, even) + vec2<u32>(key.y, third + 1u);
  x = threefry_rounds(x, odd) + vec2<u32>(third, key.x + 2u);
  x = threefry_rounds(x, even) + vec2<u32>(key.x, key.y + 3u);
  x = threefry_rounds(x, odd) + vec2<u32>(key.y, third + 4u);
  x = threefry_rounds(x, even) + vec2<u32>(third, key.x + 5u);
  return x;
}

fn random_unit(seed: vec2<u32>, position: u32, purpose: u32) -> f32 {
  return f32(random_bits(seed, vec2<u32>(position, purpose)).x >> 8u) / 16777216.0;
}
