// y[b, c] = scale * Σ_p x[b, p, c], scale being 1 / p.
// grid: b * ceil(c / ACROSS) workgroups, folded. One workgroup owns ACROSS items (LANES neighbouring channels
// each) of one image; each of its DOWN rows of invocations sums every DOWN-th position.
//!use lanes

// variant ---------------------------------------------------------------
alias elem = f32;      // storage type: f32 | f16
const WG = 256u;       // invocations per workgroup
const ACROSS = 32u;    // of which neighbours along c; divides WG
// -----------------------------------------------------------------------

struct Params {
  b: u32, p: u32, c: u32,                   // images, positions, items of channels
  x0: u32, x1: u32, x2: u32, x_offset: u32, // strides and offset of x, in items
  scale: f32,
}

@group(0) @binding(0) var<storage, read>       x: array<item>;  // [b, p, c] by strides
@group(0) @binding(1) var<storage, read_write> y: array<item>;  // [b, c]

const DOWN = WG / ACROSS;

var<workgroup> sums: array<itemf, WG>;  // [DOWN, ACROSS]

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let across = (params.c + ACROSS - 1u) / ACROSS;
  let group = wg.x + wg.y * groups.x;
  if group >= params.b * across { return; }
  let image = group / across;
  let channel = group % across * ACROSS + lid % ACROSS;
  var sum = itemf();
  if channel < params.c {
    let first = params.x_offset + image * params.x0 + channel * params.x2;
    for (var p = lid / ACROSS; p < params.p; p += DOWN) {
      sum += itemf(x[first + p * params.x1]);
    }
  }
  sums[lid] = sum;
  workgroupBarrier();
  if lid < ACROSS && channel < params.c {
    for (var i = 1u; i < DOWN; i += 1u) { sum += sums[i * ACROSS + lid]; }
    y[image * params.c + channel] = item(sum * params.scale);
  }
}
