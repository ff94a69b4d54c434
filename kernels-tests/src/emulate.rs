//! Kernels on matrix units, rewritten so that an adapter without them computes the same: a loaded matrix is the place
//! it was loaded from, and of an accumulator each of 32 invocations holds half a row. So a wrong index is found on
//! a CPU; a missing barrier need not be. A barrier of a subgroup becomes one of the workgroup.

use cascadia::kernels::LIBS;
use cascadia::shader::{Case, KernelSpec};
use std::fmt::Write;

/// The same case without matrix units.
pub fn without_matrix_units(case: &Case) -> Case {
    let spec = case.dispatch.kernel;
    let mut text = String::new();
    for line in spec
        .source
        .lines()
        .filter(|l| !l.starts_with("//!use") && l.trim() != "//!unroll")
    {
        text.push_str(line);
        text.push('\n');
    }
    for (name, choice) in &case.variant().choices {
        let lib = LIBS.iter().find(|l| l.name == *name && l.choice == *choice);
        text.push_str(&lib.map_or("", |l| l.source).replace("//!unroll", ""));
    }
    let source = rewrite(&text).replace("subgroupBarrier()", "workgroupBarrier()");
    let mut case = case.clone();
    // The reference still asks for the choices; no `//!use` is left that would take them.
    for (_, choice) in &mut case.dispatch.variant.choices {
        if choice.starts_with("coop") {
            *choice = "emulated";
        }
    }
    // Emulated, a matrix is read when it is multiplied: what it was loaded from has to stay.
    for (name, value) in &mut case.dispatch.variant.consts {
        if *name == "KEEP" {
            *value = true.into();
        }
    }
    case.dispatch.kernel = Box::leak(Box::new(KernelSpec {
        path: spec.path,
        source: Box::leak(source.into_boxed_str()),
        params: spec.params,
        binds: spec.binds,
    }));
    case
}

/// Added to the place of a matrix whose columns stand one after the other.
const BY_COLUMNS: &str = "vec3<u32>(64u, 0u, 0u) ";

/// Text with matrices as arrays, and functions for the arrays that it loads from and stores to.
fn rewrite(text: &str) -> String {
    let mut names: Vec<(bool, String)> = Vec::new();
    let mut text = text.to_string();
    for (prefix, store) in [
        ("coopLoadT<", false),
        ("coopLoad<", false),
        ("coopStoreT(", true),
    ] {
        while let Some(start) = text.find(prefix) {
            let amp = start + text[start..].find('&').expect("a pointer");
            let open = amp + text[amp..].find('[').expect("an index");
            let close = open + text[open..].find("],").expect("the end of an index");
            let (name, index) = (
                text[amp + 1..open].to_string(),
                text[open + 1..close].to_string(),
            );
            let matrix = text[start + prefix.len()..amp].to_string();
            let call = if store {
                format!("emulated_store_{name}({matrix}{index},")
            } else if prefix == "coopLoad<" {
                format!("{BY_COLUMNS}+ emulated_load_{name}({index},")
            } else {
                format!("emulated_load_{name}({index},")
            };
            text.replace_range(start..close + 2, &call);
            names.push((store, name));
        }
    }
    for (ty, with) in [
        ("f16, A", "vec3<u32>"),
        ("f16, B", "vec3<u32>"),
        ("f32, C", "array<f32, 8>"),
    ] {
        text = text.replace(&format!("coop_mat16x16<{ty}>"), with);
    }
    text = text.replace("coopMultiplyAdd(", "emulated_multiply_add(");
    let lid = "local_invocation_index) lid: u32,\n) {\n";
    assert!(
        text.contains(lid),
        "main takes the invocation's index as `lid`"
    );
    text = text.replace(lid, &format!("{lid}  emulated_lane = lid % 32u;\n"));
    names.sort();
    names.dedup();
    let mut read = String::new();
    for (id, (store, name)) in names.iter().enumerate() {
        let declares = |l: &&str| l.contains("var<") && l.contains(&format!(" {name}:"));
        let ty = text.lines().find(declares).expect("a declaration");
        let scalar = ty.contains("array<f32,") || ty.contains("array<elem>");
        let place = |row: &str, column: &str| {
            if scalar {
                format!("{name}[at + {row} * stride + {column}]")
            } else {
                format!("{name}[at + {row} * stride + {column} / 4u][{column} % 4u]")
            }
        };
        let _ = if *store {
            let place = place("emulated_lane / 2u", "(emulated_lane % 2u * 8u + i)");
            write!(
                text,
                "fn emulated_store_{name}(m: array<f32, 8>, at: u32, stride: u32) {{
  var v = m;
  for (var i = 0u; i < 8u; i += 1u) {{ {place} = v[i]; }}
}}
"
            )
        } else {
            let place = place("row", "column");
            let _ = writeln!(read, "  if m.x % 64u == {id}u {{ return f32({place}); }}");
            writeln!(
                text,
                "fn emulated_load_{name}(at: u32, stride: u32) -> vec3<u32> {{ return vec3<u32>({id}u, at, stride); }}"
            )
        };
    }
    let _ = write!(
        text,
        "var<private> emulated_lane: u32;
fn emulated_read(m: vec3<u32>, r: u32, c: u32) -> f32 {{
  let row = select(r, c, m.x >= 64u);
  let column = select(c, r, m.x >= 64u);
  let at = m.y;
  let stride = m.z;
{read}  return 0.0;
}}
fn emulated_multiply_add(a: vec3<u32>, b: vec3<u32>, c: array<f32, 8>) -> array<f32, 8> {{
  var sum = c;
  for (var k = 0u; k < 16u; k += 1u) {{
    let x = emulated_read(a, emulated_lane / 2u, k);
    for (var i = 0u; i < 8u; i += 1u) {{ sum[i] += x * emulated_read(b, k, emulated_lane % 2u * 8u + i); }}
  }}
  return sum;
}}
"
    );
    text
}
