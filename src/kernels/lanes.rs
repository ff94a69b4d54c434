//! Plain kernels take four neighbours of the last dimension at a time where every operand allows it, and one
//! where not: `lib/lanes.{one,four}.wgsl`. What they take at a time is an *item*; their Params count items.

use crate::shader::Variant;
use crate::tensor::Layout;

/// Elements of an item: 1 or 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes(usize);

impl Lanes {
    /// The most that all of `views` allow.
    pub fn of(views: &[&Layout]) -> Self {
        let four = views.iter().all(|v| {
            let last = v.shape.len() - 1;
            v.offset % 4 == 0
                && v.shape[last] % 4 == 0
                && v.strides[last] == 1
                && (0..last).all(|d| v.shape[d] == 1 || v.strides[d] % 4 == 0)
        });
        Self(if four { 4 } else { 1 })
    }

    /// What a variant chose.
    pub fn chosen(variant: &Variant) -> Self {
        Self(if variant.choice("lanes") == "four" {
            4
        } else {
            1
        })
    }

    /// The choice of `//!use lanes`.
    pub fn choice(self) -> &'static str {
        if self.0 == 4 { "four" } else { "one" }
    }

    pub fn elements(self) -> usize {
        self.0
    }

    /// So many elements, or a stride in elements, in items.
    pub fn items(self, elements: usize) -> u32 {
        (elements / self.0) as u32
    }

    /// The strides of a view, then its offset, in items. The last stride is 1 where an item is four elements.
    pub fn strides<const N: usize>(self, view: &Layout) -> [u32; N] {
        let last = view.strides.len() - 1;
        std::array::from_fn(|d| match d {
            d if d == last => view.strides[d] as u32,
            d if d < last => self.items(view.strides[d]),
            _ => self.items(view.offset),
        })
    }
}

/// Elements of storage that a view looks at: those repeated by a stride of 0 once.
pub fn distinct(view: &Layout) -> u64 {
    (view.shape.iter().zip(&view.strides))
        .map(|(&d, &s)| if s == 0 { d.min(1) } else { d } as u64)
        .product()
}

/// The storage index of element `i` of a view of items of dimensions `[_, d1, d2, d3]`, given strides and offset.
pub(crate) fn at(lanes: Lanes, i: usize, dims: [u32; 3], strides: [u32; 5]) -> usize {
    let l = lanes.elements();
    let [d1, d2, d3] = dims.map(|v| v as usize);
    let [s0, s1, s2, s3, offset] = strides.map(|v| v as usize);
    let (item, lane) = (i / l, i % l);
    let at = [
        item / (d1 * d2 * d3) * s0,
        item / (d2 * d3) % d1 * s1,
        item / d3 % d2 * s2,
        item % d3 * s3,
    ];
    (offset + at.iter().sum::<usize>()) * l + lane
}
