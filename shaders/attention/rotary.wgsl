// Queries turned by their positions, and the new rows of a cache of keys and values. Row i stands at position
// p = start + i and has the slot p % capacity; its pairs (x, y) of neighbours 2 j, 2 j + 1 become
//   (x c - y s, x s + y c), (c, s) = rotary[min(p, positions - 1), j]       queries and keys, with ROTATE
//   (x, y)                                                                  values; all, without ROTATE
// grid: ceil(m * (HEADS + 2 * KV_HEADS) * D / 4 / WG) workgroups, folded. One invocation owns two pairs.

// variant ---------------------------------------------------------------
alias elem = f32;      // storage type of the cache: f32 | f16
const HEADS = 4u;      // 0 where there are no queries; q is then left as it is
const KV_HEADS = 2u;
const D = 16u;         // a multiple of 4
const ROTATE = true;
// -----------------------------------------------------------------------

struct Params {
  m: u32,
  capacity: u32,
  positions: u32,  // rows of rotary
}

@group(0) @binding(0) var<storage, read>       qkv:    array<vec4<f32>>;   // [m, HEADS + 2 KV_HEADS, D]
@group(0) @binding(1) var<storage, read>       rotary: array<vec4<f32>>;   // [positions, D / 2, 2]; else qkv
@group(0) @binding(2) var<storage, read>       start:  array<u32>;         // [1]
@group(0) @binding(3) var<storage, read_write> q:      array<vec4<f32>>;   // [m, HEADS, D]
@group(0) @binding(4) var<storage, read_write> cache:  array<vec4<elem>>;  // [2, KV_HEADS, capacity, D]

const WG = 64u;
const D4 = D / 4u;
const ROW_HEADS = HEADS + 2u * KV_HEADS;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let at = (wg.x + wg.y * groups.x) * WG + lid;
  let row = at / (ROW_HEADS * D4);
  if row >= params.m { return; }
  let head = at / D4 % ROW_HEADS;
  let c = at % D4;
  let position = start[0] + row;
  var v = qkv[at];
  if ROTATE && head < HEADS + KV_HEADS {
    let turn = rotary[min(position, params.positions - 1u) * D4 + c];
    v = vec4(
      v.x * turn.x - v.y * turn.y,
      v.x * turn.y + v.y * turn.x,
      v.z * turn.z - v.w * turn.w,
      v.z * turn.w + v.w * turn.z,
    );
  }
  if head < HEADS {
    q[(row * HEADS + head) * D4 + c] = v;
  } else {
    cache[((head - HEADS) * params.capacity + position % params.capacity) * D4 + c] = vec4<elem>(v);
  }
}
