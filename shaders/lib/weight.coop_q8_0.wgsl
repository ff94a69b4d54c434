// weight: of a block of 16 output features × 64 of depth, the share of one lane of a subgroup, for matrix units.
// weight_fetch reads it; weight_expand writes it as f16 to w_tile, whose rows of 64 are ROW4 elem4 apart.
// Neighbouring lanes write the two halves of 16 bytes in opposite order: so no two of 16 lanes share a bank.
alias weight4 = vec4<u32>;
struct Piece { a: vec4<u32>, b: vec4<u32>, d: u32 }

fn weight_fetch(block: u32, lane: u32) -> Piece {
  let at = block * 64u + lane;
  return Piece(w[at], w[at + 32u], scales[block * 16u + lane / 2u]);
}

fn weight_expand(p: Piece, tile: u32, lane: u32) {
  let d = vec4<elem>(elem(unpack2x16float(p.d >> (lane % 2u * 16u)).x));
  let odd = lane % 2u;
  let near = tile + lane / 2u * ROW4 + odd * 9u;
  let far = near + 1u - 2u * odd;
  let a = select(p.a, p.a.yxwz, odd == 1u);
  let b = select(p.b, p.b.yxwz, odd == 1u);
  w_tile[near] = weight_four(a.x) * d;
  w_tile[far] = weight_four(a.y) * d;
  w_tile[near + 2u] = weight_four(a.z) * d;
  w_tile[far + 2u] = weight_four(a.w) * d;
  w_tile[near + 4u] = weight_four(b.x) * d;
  w_tile[far + 4u] = weight_four(b.y) * d;
  w_tile[near + 6u] = weight_four(b.z) * d;
  w_tile[far + 6u] = weight_four(b.w) * d;
}

// Four bytes less 128. Under the exponent 0x64 a byte in the low bits of a half is 1024 more than itself.
fn weight_four(v: u32) -> elem4 {
  let low = vec2<elem>(unpack2x16float(v & 0x00FF00FFu | 0x64006400u));
  let high = vec2<elem>(unpack2x16float(v >> 8u & 0x00FF00FFu | 0x64006400u));
  return elem4(low, high) - elem4(1152.0);
}
