// window_attention: for all tokens t of a window, attention_store(head, slot, t, n / 4, Σ_s a[t, s] * v[s, n]) with
// a[t] = softmax_s(q[t] · k[s] + bias[t, s]), in f32.
//   q     tile, 16 columns at slot, row t at slot + t * ROW4 (in elem4, as all here)
//   k, v  tile, 16 and D columns, row s at QKV_AT + s * QKV4, columns 16 .. and 32 ..
//   p     tile, room for P_ROWS rows of P4, row r at p_at + r * P_ROW4; may be q's
//   bias  b, [N, KEYS4] at bias_at, rows padded with anything
// The kernel declares N, D4, WG, tile, b, these strides, CHUNK, AV_ROWS and attention_store, which may write q's
// and p's row t and what belongs to t alone. Every invocation calls it; a barrier stands before it and after it.
const KEYS4 = (N + 3u) / 4u;
const MAX_AT = max(KEYS4, 4u);                   // column of p with a row's partial maxima, beyond q's
const P4 = MAX_AT + 1u;
const P_ROWS = CHUNK;
const BIAS4 = N * KEYS4;
const LOW = -60000.0;
const LANES = 4u;                                // invocations to a row of scores
const GROUPS = (KEYS4 + LANES - 1u) / LANES;     // of 4 keys, of one invocation
const ROUNDS = (CHUNK * LANES + WG - 1u) / WG;   // rows of scores of one invocation
const TASKS = CHUNK / AV_ROWS * D4;              // tiles of a v
const TURNS = (TASKS + WG - 1u) / WG;            // of one invocation

var<workgroup> sums: array<vec4<f32>, CHUNK>;    // of exp, of each of a row's invocations

fn dot_key(q0: vec4<f32>, q1: vec4<f32>, q2: vec4<f32>, q3: vec4<f32>, s: u32) -> f32 {
  let at = QKV_AT + min(s, N - 1u) * QKV4 + 4u;
  return select(dot(q0, vec4<f32>(tile[at])) + dot(q1, vec4<f32>(tile[at + 1u]))
    + dot(q2, vec4<f32>(tile[at + 2u])) + dot(q3, vec4<f32>(tile[at + 3u])), LOW, s >= N);
}

fn window_attention(head: u32, lid: u32, slot: u32, p_at: u32, bias_at: u32) {
  for (var first = 0u; first < N; first += CHUNK) {
    attention_rows(head, lid, slot, p_at, bias_at, first, min(CHUNK, N - first) - 1u);
  }
}

// Query rows first .. first + last.
fn attention_rows(head: u32, lid: u32, slot: u32, p_at: u32, bias_at: u32, first: u32, last: u32) {
  let lane = lid % LANES;
  var s: array<vec4<f32>, ROUNDS * GROUPS>;
  for (var r = 0u; r < ROUNDS; r += 1u) {
    let row = (r * WG + lid) / LANES;
    let t = first + min(row, last);
    let at = slot + t * ROW4;
    for (var g = 0u; g < GROUPS; g += 1u) {
      s[r * GROUPS + g] = vec4<f32>(b[bias_at + t * KEYS4 + min(g * LANES + lane, KEYS4 - 1u)]);
    }
    let q0 = vec4<f32>(tile[at]);
    let q1 = vec4<f32>(tile[at + 1u]);
    let q2 = vec4<f32>(tile[at + 2u]);
    let q3 = vec4<f32>(tile[at + 3u]);
    var most = LOW;
    for (var g = 0u; g < GROUPS; g += 1u) {
      let key = (g * LANES + lane) * 4u;
      let v = s[r * GROUPS + g] + vec4<f32>(dot_key(q0, q1, q2, q3, key), dot_key(q0, q1, q2, q3, key + 1u),
        dot_key(q0, q1, q2, q3, key + 2u), dot_key(q0, q1, q2, q3, key + 3u));
      s[r * GROUPS + g] = v;
      most = max(most, max(max(v.x, v.y), max(v.z, v.w)));
    }
    if row <= last { tile[p_at + row * P_ROW4 + MAX_AT][lane] = elem(most); }
  }
  workgroupBarrier();
  for (var r = 0u; r < ROUNDS; r += 1u) {
    let row = (r * WG + lid) / LANES;
    let at = p_at + min(row, last) * P_ROW4;
    let mosts = vec4<f32>(tile[at + MAX_AT]);
    let most = max(max(mosts.x, mosts.y), max(mosts.z, mosts.w));
    var sum = 0.0;
    for (var g = 0u; g < GROUPS; g += 1u) {
      let e = elem4(exp(s[r * GROUPS + g] - most));
      if g * LANES + lane < KEYS4 {
        sum += dot(vec4<f32>(e), vec4<f32>(1.0));
        if row <= last { tile[at + g * LANES + lane] = e; }
      }
    }
    if row <= last { sums[row][lane] = sum; }
  }
  workgroupBarrier();
  var o: array<vec4<f32>, TURNS * AV_ROWS>;
  for (var i = 0u; i < TURNS; i += 1u) {
    let task = i * WG + lid;
    let v_at = QKV_AT + 8u + task % D4;
    let row = task / D4 * AV_ROWS;
    for (var r = 0u; r < AV_ROWS; r += 1u) { o[i * AV_ROWS + r] = vec4<f32>(); }
    if row > last { continue; }
    for (var k4 = 0u; k4 < KEYS4; k4 += 1u) {
      // Beyond the last key p is 0; the last key's v stands in, as 0 times what is there may be NaN.
      let v0 = vec4<f32>(tile[v_at + k4 * 4u * QKV4]);
      let v1 = vec4<f32>(tile[v_at + min(k4 * 4u + 1u, N - 1u) * QKV4]);
      let v2 = vec4<f32>(tile[v_at + min(k4 * 4u + 2u, N - 1u) * QKV4]);
      let v3 = vec4<f32>(tile[v_at + min(k4 * 4u + 3u, N - 1u) * QKV4]);
      for (var r = 0u; r < AV_ROWS; r += 1u) {
        let p = vec4<f32>(tile[p_at + min(row + r, last) * P_ROW4 + k4]);
        o[i * AV_ROWS + r] += p.x * v0 + p.y * v1 + p.z * v2 + p.w * v3;
      }
    }
  }
  workgroupBarrier();
  for (var i = 0u; i < TURNS; i += 1u) {
    for (var r = 0u; r < AV_ROWS; r += 1u) {
      let row = (i * WG + lid) / D4 * AV_ROWS + r;
      if row > last { continue; }
      let sum = dot(sums[row], vec4<f32>(1.0));
      attention_store(head, slot, first + row, (i * WG + lid) % D4, o[i * AV_ROWS + r] / sum);
    }
  }
}
