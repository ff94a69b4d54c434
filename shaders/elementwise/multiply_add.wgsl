// y[i] = Σ of 32 chains from x[i] on, each `rounds` times v ← v · a + b: as many multiply-adds as an adapter does.
// grid: ceil(n / WG) workgroups, folded. One invocation owns one element of y and its chains.

struct Params {
  n: u32,
  rounds: u32,
  a: f32,
  b: f32,
}

@group(0) @binding(0) var<storage, read>       x: array<f32>;  // [n]
@group(0) @binding(1) var<storage, read_write> y: array<f32>;  // [n]

const WG = 256u;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let i = (wg.x + wg.y * groups.x) * WG + lid;
  if i >= params.n { return; }
  let a = vec4(params.a);
  let b = vec4(params.b);
  // Each starts elsewhere, so that no compiler takes two for one.
  var v0 = vec4(x[i]) + vec4(0.0, 1.0, 2.0, 3.0);
  var v1 = v0 + 4.0;
  var v2 = v0 + 8.0;
  var v3 = v0 + 12.0;
  var v4 = v0 + 16.0;
  var v5 = v0 + 20.0;
  var v6 = v0 + 24.0;
  var v7 = v0 + 28.0;
  for (var round = 0u; round < params.rounds; round++) {
    v0 = fma(v0, a, b);
    v1 = fma(v1, a, b);
    v2 = fma(v2, a, b);
    v3 = fma(v3, a, b);
    v4 = fma(v4, a, b);
    v5 = fma(v5, a, b);
    v6 = fma(v6, a, b);
    v7 = fma(v7, a, b);
  }
  let sums = (v0 + v1 + v2 + v3) + (v4 + v5 + v6 + v7);
  y[i] = sums.x + sums.y + sums.z + sums.w;
}
