// dtable[t, c] = Σ dy[i, c] over the rows i with min(ids[i], n - 1) = t, always in the same order.
// grid: n * ceil(width / 4 / ACROSS) workgroups, folded. One workgroup owns four columns an invocation of a row of the
// table. Its invocations share the search for the rows that name it, and DOWN of them the sum of a column.

// variant ---------------------------------------------------------------
const ACROSS = 64u;        // invocations side by side: 8 to 256, a power of two
// -----------------------------------------------------------------------

struct Params {
  rows: u32,
  width4: u32,   // width / 4
  n: u32,        // rows of the table
}

@group(0) @binding(0) var<storage, read>       ids:    array<u32>;        // [rows]
@group(0) @binding(1) var<storage, read>       dy:     array<vec4<f32>>;  // [rows, width]
@group(0) @binding(2) var<storage, read_write> dtable: array<vec4<f32>>;  // [n, width]

const WG = 256u;
const DOWN = WG / ACROSS;
const WORDS = WG / 32u;
const CHUNK = WG * 32u;     // rows that are looked at between barriers

var<workgroup> named: array<u32, WG>;              // bit j of word l: row j WG + l of the chunk names this row
var<workgroup> some:  array<atomic<u32>, WORDS>;   // bit l of word w: named[32 w + l] is not zero
var<workgroup> sums:  array<vec4<f32>, WG>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let across = (params.width4 + ACROSS - 1u) / ACROSS;
  let group = wg.x + wg.y * groups.x;
  let row = group / across;
  if row >= params.n { return; }
  let c = group % across * ACROSS + lid % ACROSS;
  var sum = vec4<f32>();
  for (var first = 0u; first < params.rows; first += CHUNK) {
    workgroupBarrier();
    if lid < WORDS { atomicStore(&some[lid], 0u); }
    workgroupBarrier();
    var own = 0u;
    for (var j = 0u; j < min(32u, (params.rows - first + WG - 1u) / WG); j += 1u) {
      let i = first + j * WG + lid;
      if i < params.rows && min(ids[i], params.n - 1u) == row { own |= 1u << j; }
    }
    named[lid] = own;
    if own != 0u { atomicOr(&some[lid / 32u], 1u << (lid % 32u)); }
    workgroupBarrier();
    for (var w = lid / ACROSS; w < WORDS; w += DOWN) {
      var words = atomicLoad(&some[w]);
      while words != 0u {
        let l = w * 32u + firstTrailingBit(words);
        words &= words - 1u;
        var bits = named[l];
        while bits != 0u {
          let i = first + firstTrailingBit(bits) * WG + l;
          bits &= bits - 1u;
          sum += dy[i * params.width4 + min(c, params.width4 - 1u)];
        }
      }
    }
  }
  sums[lid] = sum;
  workgroupBarrier();
  if lid < ACROSS && c < params.width4 {
    for (var part = 1u; part < DOWN; part += 1u) { sum += sums[part * ACROSS + lid]; }
    dtable[row * params.width4 + c] = sum;
  }
}
