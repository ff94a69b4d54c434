//! Relative position tables of one window size made into those of another, as timm 1.0.31 does: bicubic
//! interpolation with antialiasing (a = -0.5), taps outside the table dropped and the rest renormalised.

/// Keys' cubic kernel with a = -1/2.
fn keys(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

/// The [new, old] matrix that resamples one axis.
fn axis(old: usize, new: usize) -> Vec<Vec<f64>> {
    let scale = old as f64 / new as f64;
    let stretch = scale.max(1.0);
    (0..new)
        .map(|i| {
            let centre = scale * (i as f64 + 0.5);
            let row: Vec<f64> = (0..old)
                .map(|j| keys((j as f64 + 0.5 - centre) / stretch))
                .collect();
            let sum: f64 = row.iter().sum();
            row.into_iter().map(|w| w / sum).collect()
        })
        .collect()
}

/// Tables [heads, old²] as [heads, new²].
pub(super) fn resize(tables: &[f32], old: usize, new: usize) -> Vec<f32> {
    if old == new {
        return tables.to_vec();
    }
    let m = axis(old, new);
    let mut out = Vec::with_capacity(tables.len() / (old * old) * new * new);
    for table in tables.chunks(old * old) {
        for (y, x) in (0..new * new).map(|i| (i / new, i % new)) {
            let mut sum = 0.0;
            for (i, wy) in m[y].iter().enumerate() {
                for (j, wx) in m[x].iter().enumerate() {
                    sum += wy * wx * f64::from(table[i * old + j]);
                }
            }
            out.push(sum as f32);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_of_torch() {
        let near = |row: &[f64], want: &[f64]| {
            assert!(
                row.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-7),
                "{row:?} {want:?}"
            );
        };
        near(&axis(4, 7)[0], &[1.079_326_92, -0.079_326_92, 0.0, 0.0]);
        near(&axis(4, 7)[3], &[-0.0625, 0.5625, 0.5625, -0.0625]);
        near(
            &axis(4, 6)[2],
            &[-0.057_870_37, 0.9375, 0.131_944_44, -0.011_574_07],
        );
        near(
            &axis(7, 5)[0],
            &[
                0.709_327_55,
                0.344_902_39,
                -0.054_229_93,
                0.0,
                0.0,
                0.0,
                0.0,
            ],
        );
        near(
            &axis(4, 3)[1],
            &[-0.035_201_15, 0.535_201_15, 0.535_201_15, -0.035_201_15],
        );
    }

    #[test]
    fn the_same_side_is_left_alone() {
        assert_eq!(resize(&[1.0, 2.0, 3.0, 4.0], 2, 2), [1.0, 2.0, 3.0, 4.0]);
    }
}
