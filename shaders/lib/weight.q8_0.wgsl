// weight: of a block of 16 output features × 64 of depth, the share of one of 32 lanes: 32 weights of feature
// lane / 2, in 4 parts of 8. weight_depth: where in the block a part starts; weight: its values.
alias weight4 = vec4<u32>;

struct Eight { low: vec4<f32>, high: vec4<f32> }

fn weight_depth(lane: u32, part: u32) -> u32 {
  return lane % 2u * 32u + part * 8u;
}

fn weight(block: u32, lane: u32, part: u32) -> Eight {
  let d = weight_scale(block, lane);
  let four = w[block * 64u + part / 2u * 32u + lane];
  let v = select(four.xy, four.zw, part % 2u == 1u);
  let shift = vec4<u32>(0u, 16u, 8u, 24u);
  let low = vec4<f32>((vec4<u32>(v.x) >> shift) & vec4<u32>(255u)) - 128.0;
  let high = vec4<f32>((vec4<u32>(v.y) >> shift) & vec4<u32>(255u)) - 128.0;
  return Eight(low * d, high * d);
}

fn weight_scale(block: u32, lane: u32) -> f32 {
  let two = unpack2x16float(scales[block * 16u + lane / 2u]);
  return select(two.x, two.y, lane % 2u == 1u);
}
