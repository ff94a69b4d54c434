// wide: a tile of BM rows from row0 on × BN output features from block `first` on, in f32; each pair of neighbouring
// features goes to product_store(row, n, v), which leaves out what is beyond the product. As wide.scalar, on the lanes
// of a processor.
// The kernel declares WG (a multiple of 8), and what lane_product needs but lane_store, ROWS and NORM.
//!use lane_product
const ROWS = 16u;
const NORM = false;
const BM = ROWS;
const BN = 2u * WG;

fn wide(row0: u32, first: u32, lid: u32) {
  lane_product(row0, first + lid / 8u, lid);
}

fn lane_store(row: u32, n: u32, v: vec2<f32>) {
  product_store(row, n, v);
}
