// weight: of a block of 16 output features × 64 of depth, the share of one lane of a subgroup, for matrix units.
// weight_fetch reads it; weight_expand writes it as f16 to w_tile, whose rows of 64 are ROW4 elem4 apart.
// Neighbouring lanes write the two halves of 16 bytes in opposite order: so no two of 16 lanes share a bank.
alias weight4 = vec4<u32>;
struct Piece { a: vec4<u32>, d: u32 }

fn weight_fetch(block: u32, lane: u32) -> Piece {
  return Piece(w[block * 32u + lane], scales[block * 16u + lane / 2u]);
}

fn weight_expand(p: Piece, tile: u32, lane: u32) {
  let d = vec4<elem>(elem(unpack2x16float(p.d >> (lane % 2u * 16u)).x));
  let odd = lane % 2u;
  let near = tile + lane / 2u * ROW4 + odd * 9u;
  let far = near + 1u - 2u * odd;
  w_tile[near] = weight_four(p.a.x >> (odd * 8u)) * d;
  w_tile[far] = weight_four(p.a.x >> (8u - odd * 8u)) * d;
  w_tile[near + 2u] = weight_four(p.a.y >> (odd * 8u)) * d;
  w_tile[far + 2u] = weight_four(p.a.y >> (8u - odd * 8u)) * d;
  w_tile[near + 4u] = weight_four(p.a.z >> (odd * 8u)) * d;
  w_tile[far + 4u] = weight_four(p.a.z >> (8u - odd * 8u)) * d;
  w_tile[near + 6u] = weight_four(p.a.w >> (odd * 8u)) * d;
  w_tile[far + 6u] = weight_four(p.a.w >> (8u - odd * 8u)) * d;
}

// The nibbles 0, 4, 1 and 5, less 8. Under the exponent 0x64 a nibble in the low bits of a half is 1024 more than
// itself; one four bits higher is 64 + q under 0x54, so that no shift is needed.
fn weight_four(v: u32) -> elem4 {
  let low = vec2<elem>(unpack2x16float(v & 0x000F000Fu | 0x64006400u));
  let high = vec2<elem>(unpack2x16float(v & 0x00F000F0u | 0x54005400u));
  return elem4(low, high) - elem4(1032.0, 1032.0, 72.0, 72.0);
}
