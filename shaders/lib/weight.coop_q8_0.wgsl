// weight: of a block of 16 output features × 64 of depth, the share of one lane of a subgroup, for matrix units.
// weight_fetch reads it; weight_expand writes it as f16 to w_tile, whose rows of 64 are ROW4 elem4 apart.
alias weight4 = vec4<u32>;
struct Piece { a: vec4<u32>, b: vec4<u32>, d: u32 }

fn weight_fetch(block: u32, lane: u32) -> Piece {
  let at = block * 64u + lane;
  return Piece(w[at], w[at + 32u], scales[block * 16u + lane / 2u]);
}

fn weight_expand(p: Piece, tile: u32, lane: u32) {
  let d = vec4<elem>(elem(unpack2x16float(p.d >> (lane % 2u * 16u)).x));
  let to = tile + lane / 2u * ROW4 + lane % 2u * 8u;
  w_tile[to] = weight_four(p.a.x) * d;
  w_tile[to + 1u] = weight_four(p.a.y) * d;
  w_tile[to + 2u] = weight_four(p.a.z) * d;
  w_tile[to + 3u] = weight_four(p.a.w) * d;
  w_tile[to + 4u] = weight_four(p.b.x) * d;
  w_tile[to + 5u] = weight_four(p.b.y) * d;
  w_tile[to + 6u] = weight_four(p.b.z) * d;
  w_tile[to + 7u] = weight_four(p.b.w) * d;
}

// Four bytes less 128. Under the exponent 0x64 a byte in the low bits of a half is 1024 more than itself.
fn weight_four(v: u32) -> elem4 {
  let low = vec2<elem>(unpack2x16float(v & 0x00FF00FFu | 0x64006400u));
  let high = vec2<elem>(unpack2x16float(v >> 8u & 0x00FF00FFu | 0x64006400u));
  return elem4(low, high) - elem4(1152.0);
}
