// kept[slots[j]] = softmax(sharpness logits[r]): with ALL, r = j for each j <= a, else j = 0 and r = a, where a = outcome[0] is the
// number of proposals accepted: row a is the one that predicts the token after them. A slot beyond the ring: none.
// grid: rows workgroups with ALL, else 1, folded. One workgroup owns one row.
//!use reduce

// variant ---------------------------------------------------------------
const V = 1024u;       // tokens
const ALL = false;     // the rows of accepted proposals, too
const WG = 64u;        // invocations per workgroup, a power of two
// -----------------------------------------------------------------------

struct Params {
  rows: u32,
  ring: u32,
  sharpness: f32,   // above 0
}

@group(0) @binding(0) var<storage, read>       logits:  array<f32>;  // [rows, V]
@group(0) @binding(1) var<storage, read>       outcome: array<u32>;  // [at least 1]
@group(0) @binding(2) var<storage, read>       slots:   array<u32>;  // [at least rows]
@group(0) @binding(3) var<storage, read_write> kept:    array<f32>;  // [ring, V]

const LOWEST = -3.4028234e+38f;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let j = wg.x + wg.y * groups.x;
  if j >= params.rows { return; }
  let a = min(outcome[0], params.rows - 1u);
  var row = a;
  if ALL { row = j; }
  var most = LOWEST;
  for (var c = lid; c < V; c += WG) { most = max(most, logits[row * V + c]); }
  most = workgroup_max(most, lid);
  var sum = 0.0;
  for (var c = lid; c < V; c += WG) { sum += exp(params.sharpness * (logits[row * V + c] - most)); }
  sum = workgroup_sum(sum, lid);
  let slot = slots[j];
  let wanted = j <= a && slot < params.ring;
  for (var c = lid; c < V; c += WG) {
    if wanted { kept[slot * V + c] = exp(params.sharpness * (logits[row * V + c] - most)) / sum; }
  }
}
