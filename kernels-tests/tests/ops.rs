//! Each op that fuses against its plain form.

use cascadia::graph::{Activation, Value};
use cascadia::ops::{CascadedGroup, DepthwiseFfn, Expand, Head, Norm, Qkv, Stem};
use cascadia::tensor::{DType, Format};
use kernels_tests::ops::{Case, case, check, check_as, conv, folded, rows, scaled, weight};

#[test]
fn stem() {
    let cases = [
        (1, [32, 32], 16),
        (3, [37, 23], 32),
        (2, [17, 61], 48),
        (1, [1, 5], 16),
    ];
    let cases = cases.map(|(batch, [h, w], c)| {
        let convs = [[c / 2, 3], [c, c / 2], [2 * c, c], [4 * c, 2 * c]];
        let stem = Stem {
            convs: std::array::from_fn(|i| {
                conv(&format!("stem.{i}"), [convs[i][0], convs[i][1], 3, 3], 2, 1)
            }),
        };
        let name = format!("stem {batch} × {h} × {w} to {c}");
        case(name, "stem", [batch, 3, h, w], |x| {
            stem.apply(x.permute(&[0, 2, 3, 1]))
        })
    });
    check(&cases);
}

fn ffn(name: &str, c: usize) -> DepthwiseFfn {
    let shape = [c, 1, 3, 3];
    DepthwiseFfn {
        depthwise: conv(&format!("{name}.dw"), shape, 1, c),
        with_identity: folded(&format!("{name}.dw"), shape, 1, c, 1.0, 1.0),
        expand: conv(&format!("{name}.expand"), [2 * c, c, 1, 1], 1, 1),
        project: conv(&format!("{name}.project"), [c, 2 * c, 1, 1], 1, 1),
    }
}

#[test]
fn depthwise_ffn() {
    let cases = [
        (1, [1, 1], 16),
        (1, [7, 5], 64),
        (3, [11, 13], 48),
        (2, [4, 4], 192),
        // Not a multiple of 16: always the plain form.
        (1, [3, 7], 20),
    ];
    let cases = cases.map(|(batch, [h, w], c)| {
        let name = format!("ffn {batch} × {h} × {w} × {c}");
        case(name, "depthwise_ffn", [batch, h, w, c], |x| {
            ffn("ffn", c).apply(x)
        })
    });
    check(&cases);
}

fn group(name: &str, heads: usize, d: usize, window: usize) -> CascadedGroup {
    let (key, c) = (16, heads * d);
    let at = |part: &str, i: usize| format!("{name}.{part}.{i}");
    let kernel = |i: usize| [7, 5, 3, 3][i];
    let q = |by: f32| {
        let one = |i: usize| {
            let shape = [key, 1, kernel(i), kernel(i)];
            folded(&at("q", i), shape, 1, key, by, 0.0)
        };
        (0..heads).map(one).collect::<Vec<_>>()
    };
    let tokens = window * window;
    CascadedGroup {
        window,
        key_dim: key,
        qkv: (0..heads)
            .map(|i| conv(&at("qkv", i), [2 * key + d, d, 1, 1], 1, 1))
            .collect(),
        q: q(1.0),
        q_scaled: q(0.25),
        spread: weight(&format!("{name}.spread"), &[heads, tokens, tokens]),
        project: conv(&format!("{name}.project"), [c, c, 1, 1], 1, 1),
    }
}

#[test]
fn cascaded_group() {
    let cases = [
        (1, [7, 7], 4, 16, 7),
        // A map that windows do not divide: padded.
        (1, [9, 13], 3, 32, 7),
        (3, [4, 4], 2, 48, 4),
    ];
    let cases = cases.map(|(batch, [h, w], heads, d, window)| {
        let name = format!("group {batch} × {h} × {w}, {heads} × {d}, window {window}");
        case(name, "cascaded_group", [batch, h, w, heads * d], |x| {
            group("group", heads, d, window).apply(x).0
        })
    });
    check(&cases);
}

fn expand(name: &str, c: usize) -> Expand {
    let (wide, squeezed) = (4 * c, c);
    let conv =
        |part: &str, shape, stride, groups| conv(&format!("{name}.{part}"), shape, stride, groups);
    Expand {
        widen: conv("widen", [wide, c, 1, 1], 1, 1),
        reduce: conv("reduce", [wide, 1, 3, 3], 2, wide),
        squeeze: conv("squeeze", [squeezed, wide, 1, 1], 1, 1),
        excite: conv("excite", [wide, squeezed, 1, 1], 1, 1),
    }
}

#[test]
fn patch_merging() {
    let cases = [
        (1, [14, 14], 16, 24),
        (2, [7, 5], 32, 36),
        (3, [1, 3], 16, 16),
        (1, [11, 8], 64, 100),
        // Not a multiple of 4: always the plain form.
        (1, [5, 5], 6, 10),
    ];
    let cases = cases.map(|(batch, [h, w], c, out)| {
        let name = format!("merging {batch} × {h} × {w} × {c} to {out}");
        case(name, "patch_merging", [batch, h, w, c], |x| {
            let project = conv("project", [out, 4 * c, 1, 1], 1, 1);
            expand("merging", c).apply(x, &project)
        })
    });
    check(&cases);
}

#[test]
fn mean_linear() {
    let cases = [
        (1, [4, 4], 192, 1000),
        (5, [3, 7], 20, 7),
        (17, [1, 1], 48, 10),
    ];
    let cases = cases.map(|(batch, [h, w], c, classes)| {
        let (weight, bias) = (weight("head", &[classes, c]), weight("bias", &[classes]));
        let name = format!("head {batch} × {h} × {w} × {c} to {classes}");
        case(name, "mean_linear", [batch, h, w, c], |x| {
            let (weight, bias) = (&weight, &bias);
            Head { weight, bias }.apply(x)
        })
    });
    check(&cases);
}

/// Values in parts: what one op leaves as a sum is read by the next, whichever it is.
#[test]
fn ops_after_one_another() {
    let shape = [1, 7, 7, 64];
    fn chain(x: Value<'_>) -> Value<'_> {
        ffn("b", 64).apply(ffn("a", 64).apply(x))
    }
    let cases = [
        case("ffn, ffn", "depthwise_ffn", shape, chain),
        case("ffn, ffn, group, ffn", "cascaded_group", shape, |x| {
            let (y, _) = group("group", 4, 16, 7).apply(chain(x));
            ffn("c", 64).apply(y)
        }),
        case("ffn, ffn, merging", "patch_merging", shape, |x| {
            let project = conv("project", [96, 256, 1, 1], 1, 1);
            expand("merging", 64).apply(chain(x), &project)
        }),
        case("ffn, relu, residual", "depthwise_ffn", shape, |x| {
            x + ffn("a", 64).apply(x).relu()
        }),
    ];
    check(&cases);
}

const STORED: [Option<Format>; 2] = [None, Some(Format::Q4_0)];

#[test]
fn norm_project() {
    let (width, out) = (96, 44);
    let gain = scaled("gain", &[width], 1.0, 1.0);
    let (w, bias) = (weight("w", &[out, width]), weight("b", &[out]));
    let norm = Norm::new(&gain, 1e-5);
    let plain = [1, 5, 17].map(|n| {
        rows(
            format!("norm, project, {n} rows"),
            "norm_project",
            [n, width],
            |_, x| norm.times(0.5).project(x, &w, Some(&bias)),
        )
    });
    let gated = [7, 19].map(|n| {
        rows(
            format!("norm, gated, {n} rows"),
            "norm_project",
            [n, width],
            |_, x| norm.gated(x, &w, None, Activation::Silu),
        )
    });
    check_as(&plain, &STORED);
    check_as(&gated, &STORED);
}

#[test]
fn qkv() {
    let (width, heads, kv, dim, capacity) = (64, 4, 2, 16, 48);
    let gain = scaled("gain", &[width], 1.0, 1.0);
    let w = weight("w", &[(heads + 2 * kv) * dim, width]);
    let bias = weight("b", &[(heads + 2 * kv) * dim]);
    let rotary = weight("rotary", &[capacity, dim / 2, 2]);
    let rows_of = [5, 23].map(|n| [(n, DType::F32), (n, DType::F16)]);
    let cases = rows_of.as_flattened().iter().map(|&(n, dtype)| {
        let case = rows(format!("qkv, {n} rows"), "qkv", [n, width], |g, x| {
            let qkv = Qkv {
                norm: Norm::new(&gain, 1e-6),
                weight: &w,
                bias: Some(&bias),
                heads,
                rotary: Some(&rotary),
            };
            let cache = g.state("cache", &[2, kv, capacity, dim], dtype);
            qkv.apply(x, cache, g.state("start", &[1], DType::U32))
        });
        Case {
            only: Some(dtype),
            kept: Some("cache"),
            ..case
        }
    });
    check_as(&cases.collect::<Vec<_>>(), &STORED);
}
