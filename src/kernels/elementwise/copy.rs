//! `y = x` between two views of one shape: what concatenates, and makes views contiguous.
//!
//! Ceilings: each element is read once and written once, no arithmetic but indices; with four lanes it is bound
//! by bandwidth on a GPU.

use crate::kernel;
use crate::kernels::lanes::{Lanes, at, distinct};
use crate::shader::{Array, Caps, Case, Category, Cost, Dispatch, Real, Variant, fold_grid};
use crate::tensor::{DType, Layout};

kernel! {
    "elementwise/copy.wgsl",
    params {
        n: u32, d1: u32, d2: u32, d3: u32,
        x0: u32, x1: u32, x2: u32, x3: u32, x_offset: u32,
        y0: u32, y1: u32, y2: u32, y3: u32, y_offset: u32,
    },
    binds { x: Read, y: Write },
}

const WG: u32 = 256;

/// One dispatch that copies `x` to `y`, views of one shape of four dimensions. `y` has no stride of 0; what it
/// does not look at stays as it was.
pub fn dispatch(elem: DType, x: &Layout, y: &Layout, binds: Binds, caps: &Caps) -> Dispatch {
    let lanes = Lanes::of(&[x, y]);
    let n = lanes.items(x.len());
    let [x0, x1, x2, x3, x_offset] = lanes.strides(x);
    let [y0, y1, y2, y3, y_offset] = lanes.strides(y);
    let params = Params {
        n,
        d1: x.shape[1] as u32,
        d2: x.shape[2] as u32,
        d3: lanes.items(x.shape[3]),
        x0,
        x1,
        x2,
        x3,
        x_offset,
        y0,
        y1,
        y2,
        y3,
        y_offset,
    };
    let bytes = elem.bytes() as u64;
    Dispatch {
        kernel: &SPEC,
        variant: Variant::new(elem).choose("lanes", lanes.choice()),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: binds.args(),
        grid: fold_grid(u64::from(n.div_ceil(WG)), caps),
        category: Category::Reshape,
        cost: Cost {
            read_bytes: bytes * distinct(x),
            write_bytes: bytes * y.len() as u64,
            macs: 0,
        },
    }
}

fn cases() -> Vec<Case> {
    use crate::shader::Arg;
    let whole = |s: &[usize]| Layout::contiguous(s);
    // Part `start ..` of a larger last dimension, as concatenation writes it.
    let part = |s: [usize; 4], of: usize, start: usize| {
        let all = whole(&[s[0], s[1], s[2], of]);
        all.slice(3, start, s[3]).unwrap_or(all)
    };
    let turned = |s: [usize; 4]| {
        let all = whole(&[s[0], s[3], s[1], s[2]]);
        all.permute(&[0, 2, 3, 1]).unwrap_or(all)
    };
    let repeated = |s: [usize; 4]| {
        whole(&[s[0], 1, 1, s[3]])
            .broadcast(&s)
            .unwrap_or(whole(&s))
    };
    let (odd, even) = ([2, 3, 5, 7], [2, 3, 11, 8]);
    let pairs = [
        ("one", whole(&[1, 1, 1, 1]), whole(&[1, 1, 1, 1]), 65_535),
        ("concat_odd", whole(&odd), part(odd, 13, 5), 65_535),
        ("to_contiguous", turned(odd), whole(&odd), 1),
        ("from_contiguous", whole(&even), turned(even), 65_535),
        ("repeat", repeated(even), whole(&even), 65_535),
        ("concat_four", whole(&even), part(even, 20, 12), 1),
        ("split_unaligned", part(even, 20, 2), whole(&even), 65_535),
        ("split_four", part(even, 20, 8), whole(&even), 65_535),
    ];
    let mut cases = Vec::new();
    for elem in [DType::F32, DType::F16] {
        for (name, x, y, max_groups) in &pairs {
            let caps = Caps {
                max_groups: *max_groups,
                ..Caps::default()
            };
            let binds = Binds {
                x: Arg(0),
                y: Arg(1),
            };
            cases.push(Case {
                name: (*name).into(),
                dispatch: dispatch(elem, x, y, binds, &caps),
                arrays: vec![
                    Array::Elem(crate::shader::noise(1, x.end())),
                    Array::Out(y.end() + 3),
                ],
            });
        }
    }
    cases
}

/// What is not written is NaN, as it was before.
fn reference<R: Real>(case: &Case, arrays: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: Params = case.params();
    let lanes = Lanes::chosen(case.variant());
    let dims = [p.d1, p.d2, p.d3];
    let mut y = vec![R::of(f64::NAN); case.arrays[1].len()];
    for i in 0..p.n as usize * lanes.elements() {
        let from = at(lanes, i, dims, [p.x0, p.x1, p.x2, p.x3, p.x_offset]);
        y[at(lanes, i, dims, [p.y0, p.y1, p.y2, p.y3, p.y_offset])] = arrays[0][from];
    }
    vec![y]
}
