// Loss of a row of logits against the target's probabilities, and its gradient (Eq. 2 to 4 of "Online
// Speculative Decoding", arXiv 2310.07177). With z = logits[positions[i]] / temperature, q = softmax(z), and n rows
// that count:
//   loss[i] = D(p[targets[i]], q) / n, dlogits[i, c] = scale ∂ loss[i] / ∂ logits[positions[i], c]
// D by the chosen `distill`.
// A position that is no row of logits does not count: its loss and its gradient are 0. With HARD, p is 1 at
// labels[i] and 0 elsewhere, and a label that is no token does not count either.
// grid: count workgroups, folded. One workgroup owns one row, reads it three times, and its target twice.
//!use reduce
//!use distill

// variant ---------------------------------------------------------------
const WG = 256u;       // invocations per workgroup, a power of two
const HARD = false;
// -----------------------------------------------------------------------

struct Params {
  count: u32,    // positions
  rows: u32,     // of logits
  vocab: u32,
  inverse_temperature: f32,
  beta: f32,     // of jsd
  scale: f32,    // of gradients
  p_rows: u32,
}

@group(0) @binding(0) var<storage, read>       logits:    array<f32>;  // [rows, vocab]
@group(0) @binding(1) var<storage, read>       p:         array<f32>;  // [p_rows, vocab]; HARD: logits
@group(0) @binding(2) var<storage, read>       positions: array<u32>;  // [count]
@group(0) @binding(3) var<storage, read>       labels:    array<u32>;  // [count]; without HARD: positions
@group(0) @binding(4) var<storage, read>       targets:   array<u32>;  // [count]; HARD: positions
@group(0) @binding(5) var<storage, read_write> loss:      array<f32>;  // [count]
@group(0) @binding(6) var<storage, read_write> dlogits:   array<f32>;  // [count, vocab]

const LOWEST = -3.4028234e+38f;
const NO_CHANCE = -1e30;      // what a logit of -inf becomes
const TINY = 1e-30;           // probabilities are at least this where a logarithm is taken or a division made
const LEAST_LOG = -1e4;       // and their logarithms at least this
const LOADS = 4u;             // on their way at a time

var<private> row: u32;        // of loss and dlogits
var<private> first_logit: u32;
var<private> first_target: u32;
var<private> label: u32;
var<private> most: f32;
var<private> sum: f32;
var<private> log_sum: f32;

// The natural logarithm of a normal number above 0, to about its last bit, near 1 too: 2^e m, m in [√½, √2).
fn ln(x: f32) -> f32 {
  let bits = bitcast<i32>(x);
  let e = (bits - 0x3f3504f3) >> 23u;
  let m = bitcast<f32>(bits - (e << 23u));
  let s = (m - 1.0) / (m + 1.0);
  let z = s * s;
  return f32(e) * 0.69314718 + 2.0 * s * (1.0 + z * (0.33333333 + z * (0.2 + z * (0.14285714 + z * 0.11111111))));
}

fn counts(i: u32) -> bool {
  if positions[i] >= params.rows { return false; }
  if HARD { return labels[i] < params.vocab; }
  return true;
}

fn scaled(c: u32) -> f32 {
  let v = logits[first_logit + c];
  return select(v, NO_CHANCE, v < NO_CHANCE) * params.inverse_temperature;
}

fn target_of(c: u32) -> f32 {
  if HARD { return select(0.0, 1.0, c == label); }
  return p[first_target + c];
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
) {
  let group = wg.x + wg.y * groups.x;
  if group >= params.count { return; }
  row = group;
  var counted = 0.0;
  for (var i = lid; i < params.count; i += WG) { counted += select(0.0, 1.0, counts(i)); }
  let part = 1.0 / max(workgroup_sum(counted, lid), 1.0);
  let count_this = counts(row);
  first_logit = min(positions[row], params.rows - 1u) * params.vocab;
  first_target = min(targets[row], params.p_rows - 1u) * params.vocab;
  label = labels[row];
  let last = params.vocab - 1u;
  let step = LOADS * WG;

  var top = LOWEST;
  var mass = 0.0;
  for (var first = lid; first < params.vocab; first += step) {
    var z: array<f32, LOADS>;
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) { z[i] = scaled(min(first + i * WG, last)); }
    var higher = top;
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) { higher = max(higher, z[i]); }
    mass *= exp(top - higher);
    top = higher;
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) { mass += select(0.0, exp(z[i] - top), first + i * WG <= last); }
  }
  most = workgroup_max(top, lid);
  sum = workgroup_sum(mass * exp(top - most), lid);
  log_sum = ln(sum);

  var all = 0.0;
  var inner = 0.0;
  for (var first = lid; first < params.vocab; first += step) {
    var z: array<f32, LOADS>;
    var t: array<f32, LOADS>;
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) {
      let c = min(first + i * WG, last);
      z[i] = scaled(c) - most;
      t[i] = target_of(c);
    }
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) {
      let q = exp(z[i]) / sum;
      let terms = distill_terms(t[i], q, max(z[i] - log_sum, LEAST_LOG));
      all += select(0.0, terms.x, first + i * WG <= last);
      inner += select(0.0, terms.y, first + i * WG <= last);
    }
  }
  all = workgroup_sum(all, lid) * part;
  inner = workgroup_sum(inner, lid);
  if lid == 0u { loss[row] = select(0.0, all, count_this); }

  for (var first = lid; first < params.vocab; first += step) {
    var z: array<f32, LOADS>;
    var t: array<f32, LOADS>;
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) {
      let c = min(first + i * WG, last);
      z[i] = scaled(c) - most;
      t[i] = target_of(c);
    }
    //!unroll
    for (var i = 0u; i < LOADS; i += 1u) {
      let c = first + i * WG;
      let slope = distill_slope(t[i], exp(z[i]) / sum, inner) * part * params.inverse_temperature * params.scale;
      if c <= last { dlogits[row * params.vocab + c] = select(0.0, slope, count_this); }
    }
  }
}
