// p[b, s, :] = softmax of logits[b, i, :] under the settings of b, in this order: repetition penalty of the tokens before
// the predicted position t = start[b] + ahead + i (l / r where l > 0, else l r), temperature, top-k (ties of the k-th
// kept), top-p (the fewest of the likeliest tokens whose mass reaches it; ties kept), min-p (p_c >= min_p max p).
// Temperature 0: 1 at the first maximum. s = t - base[b] - 1.
// NaN and +inf count as -inf, probability 0, and set FAULT in fault[b], as does a row without a finite logit, which becomes
// uniform.
// grid: batch × rows workgroups, folded. One workgroup owns one row; each invocation the tokens lid + j WG of it.
//!use reduce

// variant ---------------------------------------------------------------
const V = 1024u;       // tokens
const SLOTS = 8u;      // rows of p for each sequence
const FAULT = 1u;      // the bit of fault
const WG = 256u;       // invocations per workgroup, a power of two
const LOADS = 8u;      // tokens that an invocation loads at a time
// -----------------------------------------------------------------------

struct Params {
  batch: u32,
  rows: u32,     // of logits for each sequence
  ahead: u32,    // position that row 0 predicts, from start
  stride: u32,   // tokens of a row of history
}

@group(0) @binding(0) var<storage, read>       logits:   array<f32>;          // [batch, rows, V]
@group(0) @binding(1) var<storage, read>       history:  array<u32>;          // [batch, stride]
@group(0) @binding(2) var<storage, read>       start:    array<u32>;          // [batch] start of the run
@group(0) @binding(3) var<storage, read>       base:     array<u32>;          // [batch] start of the target
@group(0) @binding(4) var<storage, read>       settings: array<u32>;          // [batch, 8] temperature, top_k, top_p, min_p, penalty
@group(0) @binding(5) var<storage, read_write> fault:    array<atomic<u32>>;  // [batch]
@group(0) @binding(6) var<storage, read_write> p:        array<f32>;          // [batch, SLOTS, V]

const LOWEST = -3.4028234e+38f;
const COPIES = 4u;     // of each bin, so that neighbours seldom add to the same word
const RUN = 256u / WG;  // bins of an invocation
const WHOLE = 2147483648.0;   // a mass of 1, in whole numbers: their sums do not depend on an order

struct Row {
  at: u32,               // in logits
  to: u32,               // in p
  penalised: bool,       // its values lie in p, penalties applied
  most: f32,             // the largest value
  temperature: f32,
  total: f32,            // Σ likelihood over what is kept
  least: u32,            // key of the least value kept
}

var<workgroup> bins: array<atomic<u32>, 256u * COPIES>;
var<workgroup> found: array<u32, 2>;
var<workgroup> keys: array<u32, WG>;
var<workgroup> first_most: atomic<u32>;
var<private> faulty: bool;

// The logit, LOWEST for what counts as -inf. By its bits: some compilers take no number for a NaN.
fn sane(v: f32) -> f32 {
  let bits = bitcast<u32>(v);
  let odd = (bits & 0x7f800000u) == 0x7f800000u;
  if odd && bits != 0xff800000u { faulty = true; }
  return select(v, LOWEST, odd);
}

fn load(r: Row, first: u32, lid: u32) -> array<f32, LOADS> {
  var v: array<f32, LOADS>;
  if r.penalised {
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) { v[i] = p[r.to + min(first + i * WG + lid, V - 1u)]; }
  } else {
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) { v[i] = logits[r.at + min(first + i * WG + lid, V - 1u)]; }
  }
  //!unroll
  for (var i = 0u; i < LOADS; i += 1u) { v[i] = sane(v[i]); }
  return v;
}

// Whole numbers in the order of the values.
fn key_of(v: f32) -> u32 {
  let bits = select(bitcast<u32>(v), 0u, v == 0.0);
  return bits ^ select(0x80000000u, 0xffffffffu, bits >= 0x80000000u);
}

// e^((v - most) / temperature), exactly 0 far below.
fn likelihood(r: Row, v: f32) -> f32 {
  return exp(max((v - r.most) / r.temperature, -1000.0));
}

fn sum_kept(r: Row, min_p: f32, lid: u32) -> f32 {
  var sum = 0.0;
  for (var first = 0u; first < V; first += LOADS * WG) {
    let v = load(r, first, lid);
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) {
      let w = likelihood(r, v[i]);
      sum += select(0.0, w, first + i * WG + lid < V && key_of(v[i]) >= r.least && w >= min_p);
    }
  }
  return workgroup_sum(sum, lid);
}

// The largest key such that the tokens at or above it reach `count`, or with a share below 1, that share of the mass of
// those at or above r.least. Found by eight bits at a time.
fn threshold(r: Row, count: u32, share: f32, lid: u32) -> u32 {
  let by_mass = share < 1.0;
  var prefix = 0u;
  var need = count;
  for (var level = 0u; level < 4u; level += 1u) {
    let shift = 24u - 8u * level;
    for (var i = lid; i < 256u * COPIES; i += WG) { atomicStore(&bins[i], 0u); }
    workgroupBarrier();
    for (var first = 0u; first < V; first += LOADS * WG) {
      let v = load(r, first, lid);
      //!unroll
      for (var i = 0u; i < LOADS; i += 1u) {
        let key = key_of(v[i]);
        let among = level == 0u || ((key ^ prefix) >> min(shift + 8u, 31u)) == 0u;
        if first + i * WG + lid < V && key >= r.least && among {
          var amount = 1u;
          if by_mass { amount = u32(likelihood(r, v[i]) / r.total * WHOLE + 0.5); }
          if amount > 0u { atomicAdd(&bins[((key >> shift) & 255u) * COPIES + lid % COPIES], amount); }
        }
      }
    }
    workgroupBarrier();
    // Each invocation has a run of neighbouring bins; keys become sums of the runs from its own up.
    var own = 0u;
    for (var i = 0u; i < RUN * COPIES; i += 1u) { own += atomicLoad(&bins[lid * RUN * COPIES + i]); }
    keys[lid] = own;
    for (var gap = 1u; gap < WG; gap *= 2u) {
      workgroupBarrier();
      let higher = select(0u, keys[min(lid + gap, WG - 1u)], lid + gap < WG);
      workgroupBarrier();
      keys[lid] += higher;
    }
    workgroupBarrier();
    if by_mass && level == 0u { need = clamp(u32(ceil(f32(keys[0]) * share)), 1u, keys[0]); }
    var above = keys[lid] - own;
    for (var i = RUN; i > 0u; i -= 1u) {
      let bin = lid * RUN + i - 1u;
      var amount = 0u;
      for (var copy = 0u; copy < COPIES; copy += 1u) { amount += atomicLoad(&bins[bin * COPIES + copy]); }
      if above < need && above + amount >= need {
        found[0] = bin;
        found[1] = above;
      }
      above += amount;
    }
    workgroupBarrier();
    prefix |= found[0] << shift;
    need -= found[1];
  }
  return prefix;
}

// A key that `count` tokens at least reach: the count-th largest of the invocations' largest. 0 where there are too few.
fn floor_of(key: u32, count: u32, lid: u32) -> u32 {
  keys[lid] = key;
  if lid == 0u { found[0] = 0u; }
  workgroupBarrier();
  var rank = 1u;
  for (var i = 0u; i < WG; i += 1u) { rank += select(0u, 1u, keys[i] > key || (keys[i] == key && i < lid)); }
  if rank == count { found[0] = key; }
  workgroupBarrier();
  return found[0];
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let which = wg.x + wg.y * groups.x;
  if which >= params.batch * params.rows { return; }
  let b = which / params.rows;
  let t = start[b] + params.ahead + which % params.rows;
  let slot = t - base[b] - 1u;
  if slot >= SLOTS { return; }
  let temperature = bitcast<f32>(settings[b * 8u]);
  let top_k = settings[b * 8u + 1u];
  let top_p = bitcast<f32>(settings[b * 8u + 2u]);
  let min_p = bitcast<f32>(settings[b * 8u + 3u]);
  let penalty = bitcast<f32>(settings[b * 8u + 4u]);
  let greedy = temperature < 1e-6;
  var r = Row(which * V, (b * SLOTS + slot) * V, false, LOWEST, max(temperature, 1e-6), 1.0, 0u);

  if penalty != 1.0 {
    for (var c = lid; c < V; c += WG) { p[r.to + c] = sane(logits[r.at + c]); }
    storageBarrier();
    // A token that occurs twice gets the same value twice.
    for (var i = lid; i < min(t, params.stride); i += WG) {
      let c = history[b * params.stride + i];
      if c < V {
        let v = sane(logits[r.at + c]);
        p[r.to + c] = max(select(v * penalty, v / penalty, v > 0.0), LOWEST);
      }
    }
    storageBarrier();
    r.penalised = true;
  }

  var most = LOWEST;
  var first_own = lid;
  for (var first = 0u; first < V; first += LOADS * WG) {
    let v = load(r, first, lid);
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) {
      if first + i * WG + lid < V && v[i] > most {
        most = v[i];
        first_own = first + i * WG + lid;
      }
    }
  }
  if lid == 0u { atomicStore(&first_most, V - 1u); }
  r.most = workgroup_max(most, lid);
  if most == r.most { atomicMin(&first_most, first_own); }
  if faulty || (lid == 0u && r.most <= LOWEST) { atomicOr(&fault[b], FAULT); }

  if greedy {
    workgroupBarrier();
    let one = atomicLoad(&first_most);
    for (var c = lid; c < V; c += WG) { p[r.to + c] = select(0.0, 1.0, c == one); }
    return;
  }

  // top-k, then top-p of the mass that is left, then the sum of what is kept.
  let few = top_k > 0u && top_k < V;
  let likely = top_p < 1.0;
  if few { r.least = floor_of(key_of(most), top_k, lid); }
  for (var stage = 0u; stage < 3u; stage += 1u) {
    if stage == 2u || (stage == 1u && likely) {
      r.total = sum_kept(r, select(0.0, min_p, stage == 2u), lid);
    }
    if (stage == 0u && few) || (stage == 1u && likely) {
      r.least = threshold(r, top_k, select(1.0, top_p, stage == 1u), lid);
    }
  }
  for (var first = 0u; first < V; first += LOADS * WG) {
    let v = load(r, first, lid);
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) {
      let c = first + i * WG + lid;
      let w = likelihood(r, v[i]);
      let kept = key_of(v[i]) >= r.least && w >= min_p;
      if c < V { p[r.to + c] = select(0.0, w / r.total, kept); }
    }
  }
}
