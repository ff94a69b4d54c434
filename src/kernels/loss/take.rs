//! Rows of distributions taken along from where they were left, and whether each is one.
//!
//! Ceilings: each row is read and written once: bound by bandwidth.

use crate::kernel;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::DType;

kernel! {
    "loss/take.wgsl",
    params { count: u32, vocab: u32, rows_x: u32, rows_y: u32 },
    binds { x: Read, from_rows: Read, to_rows: Read, y: Write, sound: Write },
}

/// One dispatch: rows `from_rows` u32 `[count]` of x f32 `[rows_x, vocab]` as rows `to_rows` u32 `[count]`, each at most
/// once, of y f32 `[rows_y, vocab]`, those beyond it left out; and sound f32 `[count]`.
pub fn dispatch(
    [count, vocab]: [usize; 2],
    [rows_x, rows_y]: [usize; 2],
    binds: Binds,
    caps: &Caps,
) -> Dispatch {
    let params = Params {
        count: count as u32,
        vocab: vocab as u32,
        rows_x: rows_x as u32,
        rows_y: rows_y as u32,
    };
    let reduce = if caps.subgroups {
        "subgroup"
    } else {
        "workgroup"
    };
    let bytes = 4 * (count * vocab) as u64;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(DType::F32).choose("reduce", reduce),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(count as u64, caps),
        category: Category::Reshape,
        cost: Cost {
            read_bytes: bytes,
            write_bytes: bytes,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::{Arg, noise};
    let binds = Binds {
        x: Arg(0),
        from_rows: Arg(1),
        to_rows: Arg(2),
        y: Arg(3),
        sound: Arg(4),
    };
    let mut cases = Vec::new();
    for (count, vocab, subgroups, max_groups) in [
        (1, 1, false, 65_535),
        (7, 37, true, 65_535),
        (5, 1031, false, 2),
    ] {
        let caps = Caps {
            subgroups,
            max_groups,
            ..Caps::default()
        };
        let mut x = Vec::new();
        for (i, row) in noise(1, 9 * vocab).chunks(vocab).enumerate() {
            let sum: f32 = row.iter().map(|v| v * v).sum();
            let mut row: Vec<f32> = row.iter().map(|v| v * v / sum).collect();
            match i {
                1 => row[vocab / 2] = f32::NAN,
                2 => row[0] *= -1.0,
                3 => row.iter_mut().for_each(|v| *v *= 1.02),
                4 => row[vocab - 1] = f32::INFINITY,
                5 => row[vocab - 1] = 0.0,
                _ => {}
            }
            x.extend(row);
        }
        let rows = |step: u32| (0..count as u32).map(move |i| i * step % 9);
        let to = rows(2).map(|i| if i == 6 { u32::MAX } else { i });
        cases.push(Case {
            name: format!("{count} of {vocab}"),
            dispatch: dispatch([count, vocab], [9, 10], binds, &caps),
            arrays: vec![
                Array::F32(x),
                Array::U32(rows(1).collect()),
                Array::U32(to.collect()),
                Array::ChangedF32(noise(2, 10 * vocab)),
                Array::OutAs(DType::F32, count),
            ],
        });
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let vocab = p.vocab as usize;
    let (mut y, mut sound) = (arrays[3].clone(), Vec::new());
    for (&from, &to) in case.whole(1).iter().zip(case.whole(2)) {
        if to >= p.rows_y {
            sound.push(R::zero());
            continue;
        }
        let row = &arrays[0][from as usize * vocab..][..vocab];
        y[to as usize * vocab..][..vocab].copy_from_slice(row);
        let sum: f64 = row.iter().map(|v| v.f64()).sum();
        let within = row.iter().all(|v| (0.0..=1.001).contains(&v.f64()));
        let fine = within && (sum - 1.0).abs() < 1e-2;
        sound.push(R::of(f64::from(u8::from(fine))));
    }
    vec![y, sound]
}
