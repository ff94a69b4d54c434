// skinny: the product of up to 16 rows with 16 * NB output features, those of blocks group * NB on, in f32; each pair of
// neighbouring features goes to product_store(row, n, v). As skinny.scalar, on the lanes of a processor.
// The kernel declares WG = 8 * NB, and what lane_product needs but lane_store.
//!use lane_product
fn skinny(group: u32, lid: u32) {
  lane_product(0u, group * NB + lid / 8u, lid);
}

fn lane_store(row: u32, n: u32, v: vec2<f32>) {
  if row < params.m && n < params.n { product_store(row, n, params.scale * v); }
}
