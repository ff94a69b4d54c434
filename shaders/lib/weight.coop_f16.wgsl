// weight: of a block of 16 output features × 64 of depth, the share of one lane of a subgroup, for matrix units.
// weight_fetch reads it; weight_expand writes it as f16 to w_tile, whose rows of 64 are ROW4 elem4 apart.
// Neighbouring lanes write the two halves of 16 bytes in opposite order: so no two of 16 lanes share a bank.
alias weight4 = vec4<elem>;
struct Piece { a0: elem4, a1: elem4, b0: elem4, b1: elem4, c0: elem4, c1: elem4, d0: elem4, d1: elem4 }

fn weight_fetch(block: u32, lane: u32) -> Piece {
  let at = block * 256u + lane * 2u;
  let near = at + lane % 2u;
  let far = at + 1u - lane % 2u;
  return Piece(
    w[near], w[far], w[near + 64u], w[far + 64u], w[near + 128u], w[far + 128u], w[near + 192u], w[far + 192u],
  );
}

fn weight_expand(p: Piece, tile: u32, lane: u32) {
  let odd = lane % 2u;
  let near = tile + lane / 2u * ROW4 + odd * 3u;
  let far = near + 1u - 2u * odd;
  w_tile[near] = p.a0;
  w_tile[far] = p.a1;
  w_tile[near + 4u] = p.b0;
  w_tile[far + 4u] = p.b1;
  w_tile[near + 8u] = p.c0;
  w_tile[far + 8u] = p.c1;
  w_tile[near + 12u] = p.d0;
  w_tile[far + 12u] = p.d1;
}
