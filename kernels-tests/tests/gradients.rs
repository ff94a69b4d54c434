//! Gradients of ops, of views and of values used several times against finite differences in f64.

use cascadia::graph::{Activation, Graph};
use kernels_tests::gradients::{Case, check};

fn map2(f: impl Fn(f64, f64) -> f64) -> impl Fn(&[Vec<f64>]) -> Vec<f64> {
    move |x| x[0].iter().zip(&x[1]).map(|(a, b)| f(*a, *b)).collect()
}

#[test]
fn sums_products_and_values_used_twice() {
    check(&Case {
        name: "add and mul",
        shapes: &[&[5, 7], &[5, 7]],
        words: &[],
        device: &|x| x[0] * x[1] + x[0] + x[0] * x[0],
        host: &map2(|a, b| a * b + a + a * a),
    });
    check(&Case {
        name: "broadcast",
        shapes: &[&[3, 4, 5], &[1, 4, 1], &[1, 1, 5]],
        words: &[],
        device: &|x| x[0] * x[1] + x[2],
        host: &|x| {
            (0..60)
                .map(|i| x[0][i] * x[1][i / 5 % 4] + x[2][i % 5])
                .collect()
        },
    });
    check(&Case {
        name: "sum",
        shapes: &[&[3, 4, 6]],
        words: &[],
        device: &|x| x[0].sum(1) * x[0].sum(0).slice(1, 2, 1).broadcast(&[3, 1, 6]),
        host: &|x| {
            let at = |a: usize, b: usize, c: usize| x[0][a * 24 + b * 6 + c];
            let all = (0..18).map(|i| {
                let (a, c) = (i / 6, i % 6);
                let one: f64 = (0..4).map(|b| at(a, b, c)).sum();
                one * (0..3).map(|a| at(a, 2, c)).sum::<f64>()
            });
            all.collect()
        },
    });
}

#[test]
fn views_and_pieces() {
    // Pieces that overlap, pieces that leave gaps, in a turned and reshaped value.
    check(&Case {
        name: "slices",
        shapes: &[&[4, 9]],
        words: &[],
        device: &|x| {
            let turned = x[0].permute(&[1, 0]).reshape(&[3, 12]);
            turned.slice(1, 0, 5) * turned.slice(1, 3, 5) + turned.slice(1, 7, 5)
        },
        host: &|x| {
            let at = |r: usize, c: usize| {
                let flat = r * 12 + c;
                x[0][flat % 4 * 9 + flat / 4]
            };
            (0..15)
                .map(|i| {
                    let (r, c) = (i / 5, i % 5);
                    at(r, c) * at(r, c + 3) + at(r, c + 7)
                })
                .collect()
        },
    });
    check(&Case {
        name: "rows",
        shapes: &[&[6, 4]],
        words: &[],
        device: &|x| x[0].slice(0, 1, 2) * x[0].slice(0, 4, 2),
        host: &|x| (0..8).map(|i| x[0][4 + i] * x[0][16 + i]).collect(),
    });
    check(&Case {
        name: "concat",
        shapes: &[&[3, 2], &[3, 5]],
        words: &[],
        device: &|x| {
            let all = x[0].concat(&[x[1], x[0]]);
            all * all
        },
        host: &|x| {
            (0..27)
                .map(|i| {
                    let (r, c) = (i / 9, i % 9);
                    let v = match c {
                        0..2 => x[0][r * 2 + c],
                        2..7 => x[1][r * 5 + c - 2],
                        _ => x[0][r * 2 + c - 7],
                    };
                    v * v
                })
                .collect()
        },
    });
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044_715 * x * x * x)).tanh())
}

#[test]
fn elementwise_functions() {
    check(&Case {
        name: "sigmoid",
        shapes: &[&[3, 17]],
        words: &[],
        device: &|x| x[0].sigmoid(),
        host: &|x| x[0].iter().map(|v| 1.0 / (1.0 + (-v).exp())).collect(),
    });
    check(&Case {
        name: "softmax",
        shapes: &[&[5, 19]],
        words: &[],
        device: &|x| x[0].softmax(),
        host: &|x| {
            let row = |r: &[f64]| -> Vec<f64> {
                let sum: f64 = r.iter().map(|v| v.exp()).sum();
                r.iter().map(|v| v.exp() / sum).collect()
            };
            x[0].chunks(19).flat_map(row).collect()
        },
    });
    for (act, f) in [
        (Activation::Silu, silu as fn(f64) -> f64),
        (Activation::Gelu, gelu),
    ] {
        check(&Case {
            name: act.name(),
            shapes: &[&[7, 22]],
            words: &[],
            device: &|x| x[0].gated(act),
            host: &|x| {
                x[0].as_chunks::<2>()
                    .0
                    .iter()
                    .map(|p| f(p[0]) * p[1])
                    .collect()
            },
        });
    }
}

fn rms_norm(x: &[f64], gain: &[f64], eps: f64) -> Vec<f64> {
    let row = |r: &[f64]| -> Vec<f64> {
        let mean = r.iter().map(|v| v * v).sum::<f64>() / r.len() as f64;
        let scale = 1.0 / (mean + eps).sqrt();
        r.iter().zip(gain).map(|(v, g)| v * scale * g).collect()
    };
    x.chunks(gain.len()).flat_map(row).collect()
}

fn product(x: &[f64], w: &[f64], k: usize) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    x.chunks(k)
        .flat_map(|row| w.chunks(k).map(move |of| dot(row, of)))
        .collect()
}

#[test]
fn norms_and_products() {
    check(&Case {
        name: "rms_norm",
        shapes: &[&[9, 20], &[20]],
        words: &[],
        device: &|x| x[0].normed(x[1], 1e-3),
        host: &|x| rms_norm(&x[0], &x[1], 1e-3),
    });
    check(&Case {
        name: "dense",
        shapes: &[&[9, 20], &[13, 20], &[13]],
        words: &[],
        device: &|x| x[0].dense(x[1], Some(x[2])),
        host: &|x| {
            let y = product(&x[0], &x[1], 20);
            (y.iter().enumerate())
                .map(|(i, y)| y + x[2][i % 13])
                .collect()
        },
    });
    // The gradient of a gradient's products, whose operands are turned in every way.
    check(&Case {
        name: "dense twice",
        shapes: &[&[6, 8], &[5, 8], &[6, 5]],
        words: &[],
        device: &|x| {
            let y = x[0].dense(x[1], None);
            let [dx, dw] = x[0].graph().grad_from(&[(y, x[2])], &x[..2])[..] else {
                panic!("two gradients")
            };
            dx.dense(dw, None)
        },
        host: &|x| {
            let (mut dx, mut dw) = (vec![0.0; 48], vec![0.0; 40]);
            for (r, n, k) in (0..240).map(|i| (i / 40, i / 8 % 5, i % 8)) {
                dx[r * 8 + k] += x[2][r * 5 + n] * x[1][n * 8 + k];
                dw[n * 8 + k] += x[2][r * 5 + n] * x[0][r * 8 + k];
            }
            product(&dx, &dw, 8)
        },
    });
}

#[test]
fn an_op_without_a_rule_is_named_with_its_line() {
    let g = Graph::new();
    let x = g.input("x", &[2, 3, 3, 4]);
    let y = {
        let _scope = g.scope("head");
        x.mean_pixels()
    };
    let line = line!() - 2;
    g.grad(y.sum(0).sum(1).reshape(&[1]), &[x]);
    let error = match g.finish() {
        Err(e) => e.to_string(),
        Ok(_) => panic!("a gradient of an op that has none"),
    };
    assert!(error.contains("mean: has no gradient"), "{error}");
    assert!(error.contains(&format!("gradients.rs:{line}:")), "{error}");
    assert!(error.contains("`head`"), "{error}");
}

#[test]
fn a_value_that_the_loss_does_not_depend_on_is_refused() {
    let g = Graph::new();
    let (x, y) = (g.input("x", &[1, 3]), g.input("y", &[1, 3]));
    g.grad(x.sum(1).reshape(&[1]), &[x, y]);
    let error = g.finish().err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("does not depend"), "{error}");
}
