// weight: of a block of 16 output features × 64 of depth, the share of one of 32 lanes: 32 weights of feature
// lane / 2, in 4 parts of 8. weight_depth: where in the block a part starts; weight: its values.
alias weight4 = vec4<u32>;

struct Eight { low: vec4<f32>, high: vec4<f32> }

fn weight_depth(lane: u32, part: u32) -> u32 {
  return part * 16u + lane % 2u * 8u;
}

fn weight(block: u32, lane: u32, part: u32) -> Eight {
  let at = block * 256u + part * 64u + lane * 2u;
  return Eight(bitcast<vec4<f32>>(w[at]), bitcast<vec4<f32>>(w[at + 1u]));
}
