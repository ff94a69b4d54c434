// weight: of a block of 16 output features × 64 of depth, the share of one of 32 lanes: 32 weights of feature
// lane / 2, in 4 parts of 8. weight_depth: where in the block a part starts; weight: its values.
alias weight4 = vec4<u32>;

struct Eight { low: vec4<f32>, high: vec4<f32> }

fn weight_depth(lane: u32, part: u32) -> u32 {
  return part * 16u + lane % 2u * 8u;
}

fn weight(block: u32, lane: u32, part: u32) -> Eight {
  let v = w[block * 128u + part * 32u + lane];
  return Eight(
    vec4<f32>(unpack2x16float(v.x), unpack2x16float(v.y)),
    vec4<f32>(unpack2x16float(v.z), unpack2x16float(v.w)),
  );
}
