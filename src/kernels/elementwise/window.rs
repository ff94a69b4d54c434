//! A map as windows of `ws` × `ws` tokens, zero-padded at the bottom and the right, and the inverse, cropped.
//!
//! Ceilings: each element is read once and written once, no arithmetic but indices; with four lanes it is bound
//! by bandwidth on a GPU.

use crate::kernel;
use crate::kernels::lanes::Lanes;
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::{DType, Layout};

kernel! {
    "elementwise/window.wgsl",
    params { n: u32, h: u32, w: u32, c: u32, down: u32, across: u32 },
    binds { x: Read, y: Write },
}

const WG: u32 = 256;

/// One dispatch between the map `[B, H, W, C]` and its windows `[B * ceil(H / ws) * ceil(W / ws), ws, ws, C]`,
/// both contiguous: x is the map and y the windows, or with `reverse` x the windows and y the map. `ws` is
/// at least 1.
pub fn dispatch(
    map: [usize; 4],
    ws: usize,
    reverse: bool,
    elem: DType,
    binds: Binds,
    caps: &Caps,
) -> Dispatch {
    let [batch, h, w, c] = map;
    let lanes = Lanes::of(&[&Layout::contiguous(&map)]);
    let (down, across) = (h.div_ceil(ws), w.div_ceil(ws));
    let of_map = batch * h * w * c;
    let of_windows = batch * down * across * ws * ws * c;
    let n = lanes.items(if reverse { of_map } else { of_windows });
    let params = Params {
        n,
        h: h as u32,
        w: w as u32,
        c: lanes.items(c),
        down: down as u32,
        across: across as u32,
    };
    let variant = Variant::new(elem)
        .choose("lanes", lanes.choice())
        .set("WS", ws)
        .set("REVERSE", reverse);
    let bytes = elem.bytes() as u64;
    Dispatch {
        kernel: &SPEC,
        variant,
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(u64::from(n.div_ceil(WG)), caps),
        category: Category::Reshape,
        cost: Cost {
            read_bytes: bytes * of_map as u64,
            write_bytes: bytes * if reverse { of_map } else { of_windows } as u64,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::Arg;
    let mut cases = Vec::new();
    for elem in [DType::F32, DType::F16] {
        for (map, ws, max_groups) in [
            ([1, 1, 1, 1], 1, 65_535),
            ([2, 14, 14, 12], 7, 1),
            ([2, 5, 9, 3], 4, 65_535),
            ([1, 16, 8, 8], 7, 65_535),
            ([3, 2, 3, 5], 4, 1),
        ] {
            for reverse in [false, true] {
                let [batch, h, w, c]: [usize; 4] = map;
                let of_map = batch * h * w * c;
                let of_windows = batch * h.div_ceil(ws) * w.div_ceil(ws) * ws * ws * c;
                let (from, to) = if reverse {
                    (of_windows, of_map)
                } else {
                    (of_map, of_windows)
                };
                let caps = Caps {
                    max_groups,
                    ..Caps::default()
                };
                let binds = Binds {
                    x: Arg(0),
                    y: Arg(1),
                };
                cases.push(Case {
                    name: format!("{map:?}"),
                    dispatch: dispatch(map, ws, reverse, elem, binds, &caps),
                    arrays: vec![Array::Elem(crate::shader::noise(1, from)), Array::Out(to)],
                });
            }
        }
    }
    cases
}

fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let c = p.c as usize * Lanes::chosen(case.variant()).elements();
    let ws = case.variant().u32("WS") as usize;
    let [h, w, down, across] = [p.h, p.w, p.down, p.across].map(|v| v as usize);
    let mut y = vec![R::zero(); case.arrays[1].len()];
    let images = case.arrays[0].len().max(y.len()) / (down * across * ws * ws * c);
    for image in 0..images {
        for row in 0..h {
            for column in 0..w {
                for channel in 0..c {
                    let map = ((image * h + row) * w + column) * c + channel;
                    let window = (image * down + row / ws) * across + column / ws;
                    let windows = ((window * ws + row % ws) * ws + column % ws) * c + channel;
                    if case.variant().bool("REVERSE") {
                        y[map] = arrays[0][windows];
                    } else {
                        y[windows] = arrays[0][map];
                    }
                }
            }
        }
    }
    vec![y]
}
