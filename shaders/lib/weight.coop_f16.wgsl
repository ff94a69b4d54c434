// weight: of a block of 16 output features × 64 of depth, the share of one lane of a subgroup, for matrix units.
// weight_fetch reads it; weight_expand writes it as f16 to w_tile, whose rows of 64 are ROW4 elem4 apart.
alias weight4 = vec4<elem>;
struct Piece { a0: elem4, a1: elem4, b0: elem4, b1: elem4, c0: elem4, c1: elem4, d0: elem4, d1: elem4 }

fn weight_fetch(block: u32, lane: u32) -> Piece {
  let at = block * 256u + lane * 2u;
  return Piece(
    w[at], w[at + 1u], w[at + 64u], w[at + 65u], w[at + 128u], w[at + 129u], w[at + 192u], w[at + 193u],
  );
}

fn weight_expand(p: Piece, tile: u32, lane: u32) {
  let to = tile + lane / 2u * ROW4 + lane % 2u * 2u;
  w_tile[to] = p.a0;
  w_tile[to + 1u] = p.a1;
  w_tile[to + 4u] = p.b0;
  w_tile[to + 5u] = p.b1;
  w_tile[to + 8u] = p.c0;
  w_tile[to + 9u] = p.c1;
  w_tile[to + 12u] = p.d0;
  w_tile[to + 13u] = p.d1;
}
