// Rows of distributions taken along, and whether each is one: y[to_rows[i], c] = x[from_rows[i], c], and sound[i] is 1
// where the row's sum is within 1e-2 of 1 and none of it below 0 or above 1.001, else 0. A row that goes beyond y is left
// out, and not sound.
// grid: count workgroups, folded. One workgroup owns one row.
//!use reduce

struct Params {
  count: u32,
  vocab: u32,
  rows_x: u32,   // of x and of y
  rows_y: u32,
}

@group(0) @binding(0) var<storage, read>       x:         array<f32>;  // [rows_x, vocab]
@group(0) @binding(1) var<storage, read>       from_rows: array<u32>;  // [count]
@group(0) @binding(2) var<storage, read>       to_rows:   array<u32>;  // [count]
@group(0) @binding(3) var<storage, read_write> y:         array<f32>;  // [rows_y, vocab]
@group(0) @binding(4) var<storage, read_write> sound:     array<f32>;  // [count]

const WG = 256u;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let row = wg.x + wg.y * groups.x;
  if row >= params.count { return; }
  let at = min(from_rows[row], params.rows_x - 1u) * params.vocab;
  if to_rows[row] >= params.rows_y {
    if lid == 0u { sound[row] = 0.0; }
    return;
  }
  let to = to_rows[row] * params.vocab;
  var sum = 0.0;
  var bad = 0.0;
  for (var c = lid; c < params.vocab; c += WG) {
    let v = x[at + c];
    y[to + c] = v;
    sum += v;
    // By its bits: some compilers take no number for a NaN. Of what is left, only numbers from 0 to 1.001 count below.
    let bits = bitcast<u32>(v);
    bad += select(1.0, 0.0, bits <= 0x3f8020c5u || bits == 0x80000000u);
  }
  bad = workgroup_sum(bad, lid);
  sum = workgroup_sum(sum, lid);
  if lid == 0u { sound[row] = select(0.0, 1.0, bad == 0.0 && abs(sum - 1.0) < 1e-2); }
}
