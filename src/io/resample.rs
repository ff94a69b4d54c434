//! Pillow's antialiased bicubic and bilinear resize of 8-bit RGB, bit for bit, of only the part that is wanted.
//!
//! Two passes, along the rows and along the columns, each rounded and clipped to 8 bits. Their order shows where the
//! filter overshoots and is clipped, by many levels, so it is Pillow's too: [`columns_first`].

use std::ops::Range;

/// Binary digits behind the point of a filter's fixed-point weights.
const WEIGHT_BITS: u32 = 22;

/// One axis of a resize: `from` pixels become `to`, of which `len` from `start` on are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub from: usize,
    pub to: usize,
    pub start: usize,
    pub len: usize,
}

/// The source pixels of one target pixel: the first of them, and the range of their weights.
struct Tap {
    first: usize,
    weights: Range<usize>,
}

struct Filter {
    taps: Vec<Tap>,
    weights: Vec<i32>,
}

/// By what a picture is resized: how much a source pixel counts by its distance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interpolation {
    /// Keys' cubic with a = -0.5.
    #[default]
    Bicubic,
    Bilinear,
}

impl Interpolation {
    /// The distance from which on nothing counts, in pixels.
    fn support(self) -> f64 {
        match self {
            Interpolation::Bicubic => 2.0,
            Interpolation::Bilinear => 1.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Interpolation::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Interpolation::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Interpolation::Bicubic => 0.0,
            Interpolation::Bilinear => (1.0 - x).max(0.0),
        }
    }
}

impl Filter {
    fn new(axis: Axis, by: Interpolation) -> Self {
        let scale = axis.from as f64 / axis.to as f64;
        let filter_scale = scale.max(1.0);
        let support = by.support() * filter_scale;
        let mut taps = Vec::with_capacity(axis.len);
        let (mut weights, mut exact) = (Vec::new(), Vec::new());
        for i in axis.start..axis.start + axis.len {
            let center = (i as f64 + 0.5) * scale;
            // A cast saturates, so what lies before the first pixel is 0.
            let first = (center - support + 0.5) as usize;
            let end = ((center + support + 0.5) as usize).min(axis.from);
            exact.clear();
            exact.extend(
                (first..end).map(|x| by.weight((x as f64 - center + 0.5) * (1.0 / filter_scale))),
            );
            let sum: f64 = exact.iter().sum();
            let at = weights.len();
            weights.extend(exact.iter().map(|&w| {
                let w = if sum == 0.0 { w } else { w / sum } * f64::from(1u32 << WEIGHT_BITS);
                (if w < 0.0 { w - 0.5 } else { w + 0.5 }) as i32
            }));
            taps.push(Tap {
                first,
                weights: at..weights.len(),
            });
        }
        Self { taps, weights }
    }

    fn each(&self) -> impl Iterator<Item = (usize, &[i32])> {
        (self.taps.iter()).map(|tap| (tap.first, &self.weights[tap.weights.clone()]))
    }
}

fn round(sum: i32) -> u8 {
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (WEIGHT_BITS - 1);

/// One pass: what it computes, and the source pixels that it reads along its axis.
struct Pass {
    axis: Axis,
    /// None where the axis keeps its size: Pillow then leaves the pass out.
    filter: Option<Filter>,
    reads: Range<usize>,
}

impl Pass {
    fn new(axis: Axis, by: Interpolation) -> Self {
        if axis.from == axis.to {
            let reads = axis.start..axis.start + axis.len;
            let filter = None;
            return Self {
                axis,
                filter,
                reads,
            };
        }
        let filter = Filter::new(axis, by);
        let first = filter.taps.iter().map(|t| t.first).min().unwrap_or(0);
        let ends = filter.taps.iter().map(|t| t.first + t.weights.len());
        let reads = first..ends.max().unwrap_or(first);
        Self {
            axis,
            filter: Some(filter),
            reads,
        }
    }

    /// Along each of `rows` of `stride` bytes, whose first pixel is pixel `left` of the source.
    fn along_rows(&self, rows: &[u8], stride: usize, left: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(rows.len() / stride * self.axis.len * 3);
        for row in rows.chunks_exact(stride) {
            let (row, _) = row.as_chunks::<3>();
            let Some(filter) = &self.filter else {
                let start = self.axis.start - left;
                out.extend_from_slice(row[start..start + self.axis.len].as_flattened());
                continue;
            };
            for (first, weights) in filter.each() {
                let mut sums = [HALF; 3];
                for (pixel, &w) in row[first - left..].iter().zip(weights) {
                    for (sum, &v) in sums.iter_mut().zip(pixel) {
                        *sum += i32::from(v) * w;
                    }
                }
                out.extend(sums.map(round));
            }
        }
        out
    }

    /// Down the columns that lie in `bytes` of each of `rows` of `stride` bytes, the first of which is row `top`.
    fn along_columns(
        &self,
        rows: &[u8],
        stride: usize,
        bytes: Range<usize>,
        top: usize,
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() * self.axis.len);
        let from = |row: usize| rows[(row - top) * stride..].chunks_exact(stride);
        let Some(filter) = &self.filter else {
            for row in from(self.axis.start).take(self.axis.len) {
                out.extend_from_slice(&row[bytes.clone()]);
            }
            return out;
        };
        let mut sums = vec![0; bytes.len()];
        for (first, weights) in filter.each() {
            sums.fill(HALF);
            for (row, &w) in from(first).zip(weights) {
                for (sum, &v) in sums.iter_mut().zip(&row[bytes.clone()]) {
                    *sum += i32::from(v) * w;
                }
            }
            out.extend(sums.iter().map(|&sum| round(sum)));
        }
        out
    }
}

/// The wanted part of `pixels` resized, as 8-bit RGB. `pixels` holds `y.from` rows of `x.from` pixels.
pub(super) fn resize(pixels: &[u8], by: Interpolation, x: Axis, y: Axis) -> Vec<u8> {
    let (across, down) = (Pass::new(x, by), Pass::new(y, by));
    let stride = 3 * x.from;
    if columns_first(x, y) {
        let columns = across.reads.clone();
        let bytes = 3 * columns.start..3 * columns.end;
        let low = down.along_columns(pixels, stride, bytes, 0);
        across.along_rows(&low, 3 * columns.len(), columns.start)
    } else {
        let rows = down.reads.clone();
        let part = &pixels[rows.start * stride..rows.end * stride];
        let narrow = across.along_rows(part, stride, 0);
        down.along_columns(&narrow, 3 * x.len, 0..3 * x.len, rows.start)
    }
}

/// The order that Pillow 13 takes: columns first where the height loses more than twice what the width does.
/// (Earlier ones always take the rows first.)
fn columns_first(x: Axis, y: Axis) -> bool {
    let lost = |a: Axis| a.from as i64 - a.to as i64;
    lost(y) > 0 && lost(y) > 2 * lost(x)
}
