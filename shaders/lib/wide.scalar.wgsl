// wide: a tile of BM rows from row0 on × 64 output features from block `first` on, in f32; each pair of neighbouring
// features goes to product_store(row, n, v), which leaves out what is beyond the product.
// The kernel declares WG (a multiple of 16), params, x, and product_store; a `weight` stands beside this file. Every
// invocation calls it. An invocation owns 4 rows × 4 features; 16 of depth at a time pass through workgroup memory:
// those that one part of the 32 lanes' shares of a block covers.
const BM = WG / 4u;
const BN = 64u;
const ROW4 = 5u;   // vec4 from one row of a tile to the next: 16 of depth, and 4 that keep rows in different banks
var<workgroup> x_tile: array<vec4<f32>, BM * ROW4>;
var<workgroup> w_tile: array<vec4<f32>, BN * ROW4>;

fn wide(row0: u32, first: u32, lid: u32) {
  let blocks = (params.k + 63u) / 64u;
  let features = (params.n + 15u) / 16u;
  let k4 = params.k / 4u;
  let quarter = lid % 4u;
  let x_row = min(row0 + lid / 4u, params.m - 1u) * k4;
  let mine = lid / 16u * 4u * ROW4;
  let theirs = lid % 16u * 4u * ROW4;
  var c0 = vec4<f32>();
  var c1 = vec4<f32>();
  var c2 = vec4<f32>();
  var c3 = vec4<f32>();
  for (var block = 0u; block < blocks; block += 1u) {
    for (var part = 0u; part < 4u; part += 1u) {
      let at = block * 16u + weight_depth(quarter / 2u, part) / 4u + quarter % 2u;
      x_tile[lid / 4u * ROW4 + quarter] = x[x_row + min(at, k4 - 1u)] * select(0.0, 1.0, at < k4);
      for (var i = lid; i < 128u; i += WG) {
        let eight = weight(min(first + i / 32u, features - 1u) * blocks + block, i % 32u, part);
        let to = i / 2u * ROW4 + i % 2u * 2u;
        w_tile[to] = eight.low;
        w_tile[to + 1u] = eight.high;
      }
      workgroupBarrier();
      for (var k = 0u; k < 4u; k += 1u) {
        let w0 = w_tile[theirs + k];
        let w1 = w_tile[theirs + ROW4 + k];
        let w2 = w_tile[theirs + 2u * ROW4 + k];
        let w3 = w_tile[theirs + 3u * ROW4 + k];
        let x0 = x_tile[mine + k];
        let x1 = x_tile[mine + ROW4 + k];
        let x2 = x_tile[mine + 2u * ROW4 + k];
        let x3 = x_tile[mine + 3u * ROW4 + k];
        c0 += vec4<f32>(dot(x0, w0), dot(x0, w1), dot(x0, w2), dot(x0, w3));
        c1 += vec4<f32>(dot(x1, w0), dot(x1, w1), dot(x1, w2), dot(x1, w3));
        c2 += vec4<f32>(dot(x2, w0), dot(x2, w1), dot(x2, w2), dot(x2, w3));
        c3 += vec4<f32>(dot(x3, w0), dot(x3, w1), dot(x3, w2), dot(x3, w3));
      }
      workgroupBarrier();
    }
  }
  let row = row0 + lid / 16u * 4u;
  let n = first * 16u + lid % 16u * 4u;
  product_store(row, n, c0.xy);
  product_store(row, n + 2u, c0.zw);
  product_store(row + 1u, n, c1.xy);
  product_store(row + 1u, n + 2u, c1.zw);
  product_store(row + 2u, n, c2.xy);
  product_store(row + 2u, n + 2u, c2.zw);
  product_store(row + 3u, n, c3.xy);
  product_store(row + 3u, n + 2u, c3.zw);
}
