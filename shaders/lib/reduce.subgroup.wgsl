// reduce: workgroup_sum(v, lid) and workgroup_max(v, lid) over all invocations of a workgroup; each gets the
// result. The kernel declares WG; every invocation calls them, in uniform control flow.
//
// Which invocations share a subgroup, and how many, is the adapter's choice. So one invocation of each subgroup
// leaves its part where its own `lid` says and the others leave nothing; then each subgroup reads all WG places.
// Ranks and sizes are counted over the invocations that there are: a subgroup may be part empty. The first
// barrier parts this call from the reads of the one before, and brings subgroups back together.
const REDUCE_LOWEST = -3.4028234e+38f;
var<workgroup> reduce_parts: array<f32, WG>;

fn workgroup_sum(v: f32, lid: u32) -> f32 {
  workgroupBarrier();
  let rank = subgroupExclusiveAdd(1u);
  let size = subgroupAdd(1u);
  let part = subgroupAdd(v);
  reduce_parts[lid] = select(0.0, part, rank == 0u);
  workgroupBarrier();
  var sum = 0.0;
  for (var first = 0u; first < WG; first += size) {
    if first + rank < WG { sum += reduce_parts[first + rank]; }
  }
  return subgroupAdd(sum);
}

fn workgroup_max(v: f32, lid: u32) -> f32 {
  workgroupBarrier();
  let rank = subgroupExclusiveAdd(1u);
  let size = subgroupAdd(1u);
  let part = subgroupMax(v);
  reduce_parts[lid] = select(REDUCE_LOWEST, part, rank == 0u);
  workgroupBarrier();
  var most = REDUCE_LOWEST;
  for (var first = 0u; first < WG; first += size) {
    if first + rank < WG { most = max(most, reduce_parts[first + rank]); }
  }
  return subgroupMax(most);
}
