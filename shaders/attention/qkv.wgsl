// Queries, keys and values of up to 16 tokens, from a packed weight which is read once: rms norm, product, bias,
// rotary positions, and the keys and values stored into the cache.
//   s[m, n] = f[m] * Σ_k x[m, k] * g[k] * w[n, k] + bias[n], n over the features of H queries, HKV keys, HKV values
// With NORM, g is the gain of an RMS norm and f[m] = 1 / sqrt(Σ_k x[m, k]² / K + eps); without, both are 1.
// With ROTARY, features 2i and 2i + 1 of a query or key of row m are turned by (cos, sin) = rotary[start + m, i].
// grid: ceil(n / (16 * NB)) workgroups, folded. One workgroup owns 16 * NB features of all rows; the result of a row
// does not depend on m.
//!use skinny
//!use weight

// variant ---------------------------------------------------------------
alias elem = f32;      // of the cache: f32 | f16; f16 with skinny.coop
const WG = 256u;
const ROWS = 2u;       // rows that are read: at least m; even with skinny.coop
const NB = 1u;         // blocks of 16 features of a workgroup; 1 with skinny.scalar, WG / 8 with skinny.lanes
const LANES = 8u;      // skinny.lanes: invocations of a subgroup
const DEPTH = 1u;      // skinny.coop: blocks of the depth on their way at a time
const BITS = 32u;      // of a weight: 32 | 16 | 8 (q8_0) | 4 (q4_0); what the library reads
const D = 64u;         // features of a head, even
const NORM = false;
const BIAS = false;
const ROTARY = false;
// -----------------------------------------------------------------------

alias elem4 = vec4<elem>;

struct Params {
  m: u32,          // rows, at most 16
  n: u32,          // features of this weight
  k: u32,          // depth, a multiple of 4
  first: u32,      // the first of these features among all (H + 2 * HKV) * D, even
  heads: u32,      // H
  kv_heads: u32,   // HKV
  capacity: u32,   // positions in the cache
  scale: f32,      // 1
  eps: f32,
}

@group(0) @binding(0) var<storage, read>       x:      array<vec4<f32>>;  // [m, K]
@group(0) @binding(1) var<storage, read>       w:      array<weight4>;    // packed [n, K]
@group(0) @binding(2) var<storage, read>       scales: array<u32>;        // of quantised blocks, f16; else w
@group(0) @binding(3) var<storage, read>       aux:    array<vec4<f32>>;  // gain [K] with NORM, then bias [(H + 2 * HKV) * D], then zeros; else x
@group(0) @binding(4) var<storage, read>       rotary: array<vec2<f32>>;  // [positions, D / 2] of (cos, sin); else x
@group(0) @binding(5) var<storage, read>       start:  array<u32>;        // [1], the position of row 0
@group(0) @binding(6) var<storage, read_write> q:      array<f32>;        // [m, H, D]
@group(0) @binding(7) var<storage, read_write> cache:  array<elem>;       // [2, HKV, capacity, D]

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let group = wg.x + wg.y * groups.x;
  if group * 16u * NB >= params.n { return; }
  skinny(group, lid);
}

// The sums of features n and n + 1 (n even) of a row.
fn product_store(row: u32, n: u32, v: vec2<f32>) {
  let feature = params.first + n;
  var sum = v;
  if BIAS {
    let at = select(0u, params.k, NORM) + feature;
    sum += vec2<f32>(aux[at / 4u][at % 4u], aux[(at + 1u) / 4u][(at + 1u) % 4u]);
  }
  let position = start[0] + row;
  let head = feature / D;
  let i = feature % D;
  if ROTARY && head < params.heads + params.kv_heads {
    let turn = rotary[position * (D / 2u) + i / 2u];
    sum = vec2<f32>(sum.x * turn.x - sum.y * turn.y, sum.x * turn.y + sum.y * turn.x);
  }
  if head < params.heads {
    let at = (row * params.heads + head) * D + i;
    q[at] = sum.x;
    q[at + 1u] = sum.y;
  } else {
    // Keys, then values, both by head.
    let at = ((head - params.heads) * params.capacity + position % params.capacity) * D + i;
    cache[at] = elem(sum.x);
    cache[at + 1u] = elem(sum.y);
  }
}
