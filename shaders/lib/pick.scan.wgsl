// pick: pick(part, u, lid), a token c drawn with probability weight(c) / Σ weight by the inverse of the cumulative sum
// at u in [0, 1). Any fixed order of the tokens gives the same law: here first by the invocation that owns them (c % WG),
// then by c, so that rows are read in the order of memory. Never a token of weight 0, unless all are.
//
// The kernel declares V, WG (a power of two) and weight(c); `part` is the invocation's own Σ weight(lid + j WG).
// All invocations call it, in uniform control flow; each gets the token.
const PICK_OWNED = (V + WG - 1u) / WG;            // tokens of an invocation
const PICK_EACH = (PICK_OWNED + WG - 1u) / WG;    // of these, looked at by one invocation once the owner is known
var<workgroup> pick_sums: array<f32, WG>;
var<workgroup> pick_low: atomic<u32>;
var<workgroup> pick_high: atomic<u32>;
var<workgroup> pick_rest: f32;
var<workgroup> pick_token: u32;

// Σ of `part` over the invocations up to this one. The sum of all is then pick_sums[WG - 1].
fn pick_scan(part: f32, lid: u32) -> f32 {
  workgroupBarrier();
  pick_sums[lid] = part;
  for (var gap = 1u; gap < WG; gap *= 2u) {
    workgroupBarrier();
    let before = select(0.0, pick_sums[lid - min(gap, lid)], lid >= gap);
    workgroupBarrier();
    pick_sums[lid] += before;
  }
  workgroupBarrier();
  return pick_sums[lid];
}

// The first invocation with a part whose sum is above `t`; where rounding left none, the last with a part. What of `t`
// lies in its part is left in pick_rest.
fn pick_owner(part: f32, sum: f32, t: f32, lid: u32) -> u32 {
  if lid == 0u {
    atomicStore(&pick_low, WG);
    atomicStore(&pick_high, 0u);
  }
  workgroupBarrier();
  if part > 0.0 {
    atomicMax(&pick_high, lid);
    if sum > t { atomicMin(&pick_low, lid); }
  }
  workgroupBarrier();
  let low = atomicLoad(&pick_low);
  let owner = select(low, atomicLoad(&pick_high), low == WG);
  if lid == owner { pick_rest = max(t - (sum - part), 0.0); }
  workgroupBarrier();
  return owner;
}

fn pick(part: f32, u: f32, lid: u32) -> u32 {
  let sum = pick_scan(part, lid);
  let owner = pick_owner(part, sum, u * pick_sums[WG - 1u], lid);
  let rest = pick_rest;
  var own = 0.0;
  for (var i = 0u; i < PICK_EACH; i += 1u) {
    let c = owner + (lid * PICK_EACH + i) * WG;
    if c < V { own += weight(c); }
  }
  let own_sum = pick_scan(own, lid);
  let holder = pick_owner(own, own_sum, rest, lid);
  if lid == holder {
    var left = pick_rest;
    var token = min(owner, V - 1u);
    var found = false;
    for (var i = 0u; i < PICK_EACH; i += 1u) {
      let c = owner + (lid * PICK_EACH + i) * WG;
      if c < V && !found {
        let w = weight(c);
        if w > 0.0 {
          token = c;
          left -= w;
          found = left < 0.0;
        }
      }
    }
    pick_token = token;
  }
  workgroupBarrier();
  return pick_token;
}
