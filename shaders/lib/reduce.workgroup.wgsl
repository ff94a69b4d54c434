// reduce: workgroup_sum(v, lid) and workgroup_max(v, lid) over all invocations of a workgroup; each gets the
// result. The kernel declares WG, a power of two; every invocation calls them, in uniform control flow.
var<workgroup> reduce_parts: array<f32, WG>;

fn workgroup_sum(v: f32, lid: u32) -> f32 {
  reduce_parts[lid] = v;
  for (var gap = WG / 2u; gap > 0u; gap /= 2u) {
    workgroupBarrier();
    if lid < gap { reduce_parts[lid] += reduce_parts[lid + gap]; }
  }
  workgroupBarrier();
  let sum = reduce_parts[0];
  workgroupBarrier();
  return sum;
}

fn workgroup_max(v: f32, lid: u32) -> f32 {
  reduce_parts[lid] = v;
  for (var gap = WG / 2u; gap > 0u; gap /= 2u) {
    workgroupBarrier();
    if lid < gap { reduce_parts[lid] = max(reduce_parts[lid], reduce_parts[lid + gap]); }
  }
  workgroupBarrier();
  let most = reduce_parts[0];
  workgroupBarrier();
  return most;
}
